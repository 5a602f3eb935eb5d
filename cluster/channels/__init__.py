"""Floor 2: a channel layer for Channels, on the topics of the cluster.

::

    CHANNEL_LAYERS = {"default": {"BACKEND": "cluster.channels.ClusterChannelLayer"}}

layer        ClusterChannelLayer: what Channels and applications call
queues       the channels and groups of this process: queues, capacity, expiry
waiting      coroutines that wait for a message, in any event loop
messages     messages and envelopes as bytes
topic_names  names of channels and their topics
node_link    the topics of this process's node: groups, and channels of other processes
external     publishing in a process without a node
drops        counts and logs dropped messages

A message to a group is published once, on the topic of the group. Each node with members subscribes
to that topic, and puts the encoded message into the queue of each member.
"""

from cluster.channels.layer import ClusterChannelLayer

__all__ = ["ClusterChannelLayer"]
