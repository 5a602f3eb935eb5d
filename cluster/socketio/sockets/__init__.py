"""The sockets of this node: a socket is a client in one namespace.

socket               Socket: what handlers call
base_socket          its inside: rooms, acknowledgements, receiver
recoverable_socket   its inside: how it begins, and continues one that was disconnected
local_sockets        the sockets and rooms of a namespace
held_packets         receivers before a socket is connected, and after
"""
