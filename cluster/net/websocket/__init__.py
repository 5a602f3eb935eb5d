"""A client's WebSocket connection: Autobahn's server protocol with a fast path.

connection           ServerConnection: combines the parts; start, reading, end
connection_base      the state that its parts share, and that all connections of a node share
connection_factory   ConnectionFactory: makes connections, with their options
counted_connection   a connection that counts its messages, for the access log
opening_handshake    the opening handshake: decisions, at once or later
request_header       checks of the opening request's header
refusal              HTTP responses that refuse a handshake
closing_handshake    what the client sends after our Close
keepalive            pings, and clients that do not answer them
reader               bytes to messages
writer               one queue of frames; full sockets; slow clients
frames               encoding of frames; masks
autobahn_protocol    Autobahn's classes, with types and slots, and without its log lines
"""
