"""Floor 0: what the cluster decides, without any I/O.

routing        RoutingTable: topic -> subscribers
exchange       the broker's state machine
barrier        Barrier: counts arrivals until it releases all parties
retained       the newest frames of a topic, for late subscribers and for resuming
presence       PresenceTable: who is on a topic
sequence       sequence numbers of an origin: in order, duplicate or gap
water_marks    the fill level of a queue, with hysteresis
liveness       which processes have been silent for too long
exceptions     the tree of exceptions
interfaces     protocols through which the floors above see each other
wire           messages of the node-broker link <-> bytes
wire_topics    those about retained topics and presence
wire_fields    the base of all messages; fields and batches <-> bytes
wire_external  messages between a node and an external publisher <-> bytes

Standard library only; no clock, no reactor, no Twisted, no Django. Time is an argument.
"""
