"""One client's WebSocket connection: Autobahn's server protocol with a fast path.

connection           ServerConnection: joins reader and writer; start, pings, end
connection_factory   ConnectionFactory: makes connections and holds what they share
handshake            the opening handshake: requests, refusals, decisions that take time
reader               bytes -> messages
writer               one queue of frames -> one send an iteration
frames               frames as a server writes them; masks
autobahn_slots       the attributes that Autobahn sets, as slots
"""
