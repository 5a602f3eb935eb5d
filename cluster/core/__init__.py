"""Floor 0: the cluster's decisions, without any I/O.

routing            RoutingTable: topic -> subscribers
exchange           the broker's state machine
barrier            Barrier: counts arrivals until it releases all parties
retained           RetainedFrames: the newest frames of a topic, for late and resuming subscribers
presence           PresenceTable: the members of a topic
sequence_numbers   the sequence numbers of an origin: in order, duplicate or gap
water_marks        the fill level of a queue, with hysteresis
liveness           Liveness: detects processes that have been silent for too long
exceptions         the exception hierarchy
interfaces         Protocols: what the higher floors need of each other
wire               messages between a node and the broker <-> bytes
wire_topics        messages about retained topics and presence
wire_fields        fields, messages and batches of publications <-> bytes
wire_external      messages between a node and an external publisher <-> bytes

These modules use the standard library only, without a clock, a reactor, Twisted or Django. Callers
pass the time as an argument.
"""
