"""Floor 0: what the cluster decides, without any I/O.

wire       messages of the node-broker link <-> bytes, and packs of publications
routing    RoutingTable: topic -> subscribers
barrier    Barrier: arrivals of parties -> released
retained   the newest frames of a topic, for those who subscribe late
exchange   what the broker decides: interest, barriers, retained topics
sequence   sequence numbers per origin: in order, duplicate, gap
outbound   what to do with output for a connection that does not drain
liveness   who has not been heard of for too long
exceptions the error tree

Standard library only; no clock, no reactor, no Twisted, no Django. Time is an argument.
"""
