"""What a node does with its event loop.

flush            one send for each connection and iteration
epoll_reader     reads all open connections through one nested epoll
timers           many coarse timeouts on few reactor calls
threads          calls from a thread into the reactor
stall_detector   logs what blocks the event loop
"""
