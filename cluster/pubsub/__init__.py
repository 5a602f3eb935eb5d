"""Floor 2: topics, barriers and presence of one node, on any bus.

pubsub                 PubSub joins the parts: publish, subscribe, flush, receive
subscriptions          what this node's subscribers receive: histories, then new frames
subscriber_table       which subscribers of this node want which topic
waiting_for_history    subscribers that wait for a topic's history
callback_subscribers   functions as subscribers, and connections that skip messages
history_cache          the retained frames of subscribed topics
history_outbox         retained publications that the exchange has not acknowledged
remote_nodes           the other nodes: their subscriptions, whether they are there, congestion
batches                batches to and from the other nodes, acknowledged and sent again
local_presence         the members of topics, as this node knows them
local_barriers         the parties of this node at barriers
bus                    Bus and BusReceiver: the interfaces between PubSub and a bus
zmq_bus                the bus over a ZeroMQ link to the broker (the default)
local_bus              the bus of a cluster of one node: the exchange runs in this process
"""
