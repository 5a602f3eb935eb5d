"""`make soak`: mixed load for a long time, with a rolling restart in the middle.

command      the options, the course, and the summary of a soak test
load         the clients that no other drill has
memory       pure: whether the memory of the processes grows

Run it with `python -m workers.drill.soak`.
"""
