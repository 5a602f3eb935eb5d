"""One client's WebSocket connection, and opening many of them.

target               the servers: their URLs and addresses
source_address       the local address of a connection
dialer               opens TCP connections to the servers
ramp_up              opens connections at a rate
reconnecting         reconnects clients that have lost their connections
single_connection    opens one connection alone, before all others
websocket            the WebSocket: Autobahn's client with a fast path for small messages
frames               pure: masks and parses small frames
epoll_reader         reads all connections together, and sends once to each that has output
listening_sockets    the listening sockets of this machine, and their queues
failure_reasons      the reasons why a connection failed, as texts for the user
"""
