"""What a run reports.

latency          a histogram of durations
summary          what a run comes to, for machines and for people
status_line      what a person sees while it runs
server_memory    what the server's processes and the kernel use
"""
