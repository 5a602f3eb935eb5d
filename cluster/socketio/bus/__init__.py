"""How the nodes of a Socket.IO server reach each other's sockets.

addresses    ids of sockets, and topics
envelopes    what travels on the topics
emits        events on their way, and their packets
values       values in envelopes
node_link    the server on a node: its topics, and what arrives on them
gatherings   the answers of several nodes and sockets to one request
"""
