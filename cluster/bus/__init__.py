"""Floor 2: what carries messages between nodes.

interface  IBus and IBusReceiver: what a node needs of a bus, and what it is told
zmq_bus    a DEALER link to the broker (the default)
local_bus  no other nodes: the exchange runs in this process
pubsub     PubSub: topics, barriers and retained frames of one node, on any bus
"""
