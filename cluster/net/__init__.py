"""Floor 1: shells around sockets, each knowing one thing.

frames     WebSocket frames, encoded once for all who get them
lane       one client's WebSocket connection: Autobahn's protocol with a fast path; its halves are
           inlet and outlet, its start handshake, and lane_factory has what all lanes share
front_door the first request of a connection, to whom it is for
flush      one send per connection and reactor iteration
timers     many timeouts, few calls of the reactor
direct     output that goes past Twisted's buffers
read_hub   one nested epoll for all open connections
threads    from a thread into the reactor
standstill says when something blocked them all
zmq_link   a ZeroMQ socket in the reactor
sockets    listening sockets, descriptor limits
runtime_dir  a cluster's private folder: its sockets, and how others find them
"""
