"""Floor 0: the cluster's decisions, without any I/O.

broker_state/          the broker's state: subscriptions, barriers, retained topics, presence
machines/              what the brokers of several machines agree on
socketio/              Engine.IO and Socket.IO: packets, sessions, namespaces
wire/                  the messages between processes <-> bytes
routing                RoutingTable: topic -> subscribers
acknowledged_batches   batches between two nodes: kept until acknowledged, delivered once
json_text              JSON text to values and back
histogram              Histogram: how many durations were at most so long
water_marks            the fill level of a queue, with hysteresis
watchdog               Watchdog: detects processes that no longer work
exceptions             the exception hierarchy
interfaces             Protocols: what the higher floors need of each other

These modules use the standard library only, without a clock, a reactor, Twisted or Django. Callers
pass the time as an argument.
"""
