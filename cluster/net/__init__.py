"""Floor 1: shells around sockets, each with one subject.

websocket/           one client's WebSocket connection
loop/                the event loop: end of a turn, reading, timers, threads, stalls
protocol_detection   whether a connection is for WebSocket or HTTP, by its first request
addresses            addresses to listen on, as options name them
listening_sockets    listening sockets that processes share; the limit of descriptors
unbuffered_output    writes that bypass Twisted's buffers
zmq_socket           a ZeroMQ socket in the reactor
runtime_directory    a cluster's private folder: its Unix sockets, and how processes find them
"""
