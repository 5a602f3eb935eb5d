"""Benchmarks: programs that compare, on this machine, what the documentation says.

lane     what one message costs in a server of one process: the lane, and stock Autobahn
life     one game of Life against this cluster and against other servers
peers    those other servers
"""
