"""Accepts connections: the port of a listening socket, and how many sockets a node may hold.

port             accepts the connections of a listening socket
accepted         serves connections, of a port or from another process, within the limits
transports       their transports, which are counted
socket_limits    counts them, and decides whether there is room for one more
refused          answers the connections for which there is no room
"""
