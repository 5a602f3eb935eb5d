"""Floor 1: I/O: sockets and the event loop.

websocket/           one client's WebSocket connection
loop/                the event loop: end of a turn, reading, timers, threads, stalls
protocol_detection   chooses WebSocket or HTTP for a connection, by its first request
accepting/           accepts connections, and limits how many sockets a node holds
handover/            hands connections over to the process that has their session
addresses            parses the addresses to listen on from options
listening_sockets    listening sockets that processes share; the limit of descriptors
connection_filter    keeps new connections away from a socket that is about to be closed
tls                  the TLS versions and ciphers of ssl: addresses
unix_listener        the listening socket of a unix: address, its file and its lock
unbuffered_output    writes that bypass Twisted's buffers
runtime_watch        makes a deleted runtime folder and its sockets again
zmq_socket           a ZeroMQ socket in the reactor
bus_keys             the keys of a broker on TCP and of its nodes
runtime_directory    a cluster's private folder: its Unix sockets and its lock
running_clusters     finds the runtime folders of the running clusters
"""
