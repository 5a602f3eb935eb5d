"""Floor 1: shells around sockets, each knowing one thing.

frames     WebSocket frames, encoded once for all who get them
lane       one client's WebSocket connection: Autobahn's protocol with a fast path
flush      one send per connection and reactor iteration
direct     output that goes past Twisted's buffers
read_hub   one nested epoll for all open connections
standstill says when something blocked them all
zmq_link   a ZeroMQ socket in the reactor
sockets    listening sockets, descriptor limits
runtime_dir  a cluster's private folder: its sockets, and how others find them
"""
