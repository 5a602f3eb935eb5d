"""How the nodes of a Socket.IO server reach each other's sockets.

addresses         ids of sockets, and topics
envelopes         what travels on the topics
emits             events on their way, and their packets
values            values in envelopes
node_link         the server on a node: what it sends, and what arrives
followed_topics   the topics that a node follows
gatherings        the answers of several nodes and sockets to one request
answers           the answers of this node to requests of others
"""
