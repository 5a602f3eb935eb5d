"""Floor 1: shells around sockets, each knowing one thing.

frames     WebSocket frames, encoded once for all who get them
lane       one client's WebSocket connection: Autobahn's protocol with a fast path
flush      one send per connection and reactor iteration
read_hub   one nested epoll for all open connections
zmq_link   a ZeroMQ socket in the reactor
sockets    listening sockets, descriptor limits
"""
