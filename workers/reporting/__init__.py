"""Measurements and output of a run.

latency          a histogram of durations
output           results as lines or as JSON, and errors
summary          the summary of a run, for machines and for people
status_line      the progress of a run on stderr
server_memory    the memory of the server's processes and of the kernel
"""
