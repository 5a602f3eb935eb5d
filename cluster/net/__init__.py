"""Floor 1: shells around sockets, each knowing one thing.

websocket/           one client's WebSocket connection
loop/                the event loop: flushing, reading, timers, threads, stalls
protocol_detection   reads a connection's first request and decides between WebSocket and HTTP
listening_sockets    listening sockets that processes share; the descriptor limit
direct_output        writes that bypass Twisted's buffers
zmq_socket           a ZeroMQ socket in the reactor
runtime_directory    a cluster's private folder: its Unix sockets, and how other processes find them
"""
