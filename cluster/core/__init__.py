"""Floor 0: what the cluster decides, without any I/O.

wire       messages of the node-broker link <-> bytes; wire_topics has those about what topics
           keep, message what they have in common, fields the encoding, and packs
routing    RoutingTable: topic -> subscribers
barrier    Barrier: arrivals of parties -> released
retained   the newest frames of a topic, for those who subscribe late
presence   who is on a topic
exchange   what the broker decides: interest, barriers, retained topics
sequence   sequence numbers per origin: in order, duplicate, gap
outside    what processes outside the cluster and a node say to each other <-> bytes
outbound   what to do with output for a connection that does not drain
liveness   who has not been heard of for too long
exceptions the error tree

Standard library only; no clock, no reactor, no Twisted, no Django. Time is an argument.
"""
