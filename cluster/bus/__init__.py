"""Floor 2: what carries messages between nodes.

interface      IBus and IBusReceiver: what a node needs of a bus, and what it is told
zmq_bus        a DEALER link to the broker (the default)
local_bus      no other nodes: the exchange runs in this process
subscriptions  who on this node wants which topic
copies         the retained frames of those topics
newcomers      subscribers that are told first what they missed
followers      code of this node that is called with each frame, and connections that skip some
presence       who is on which topic
retains        publications for the exchange, until it has them
peers          the other nodes: their interest, packs for them and of them
barriers       the parties that this node has at barriers
pubsub         PubSub joins them: publish, subscribe, barriers, on any bus
"""
