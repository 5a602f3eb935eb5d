"""Measurements and output of a run.

latency          a histogram of durations
summary          the summary of a run, as JSON and as text, and errors
status_line      the progress of a run on stderr
server_memory    the memory of the server's processes and of the kernel
"""
