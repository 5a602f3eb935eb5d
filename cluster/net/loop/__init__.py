"""The event loop of a node.

end_of_turn      sends what was queued, once for each connection and turn
turn_budget      bounds the time of input and handlers before others are served
epoll_reader     reads all open connections through one nested epoll
timers           many coarse timeouts with few reactor calls
threads          calls from a thread into the event loop
stall_detector   logs what blocks the event loop
"""
