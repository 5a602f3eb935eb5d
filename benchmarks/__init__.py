"""Benchmarks: programs that compare, on this machine, what the documentation says.

life     one game of Life against this cluster and against other servers
peers    those other servers
"""
