"""The messages between processes <-> bytes.

messages             between a node and the broker: their list, joining, subscriptions, barriers
topic_messages       between a node and the broker: retained topics and presence
fields               fields, the base of all messages
batches              batches of publications, from node to node
external_publisher   between a node and an external publisher
external_requests    between a node and the broker: the same for a publisher on another machine

The names of ``messages`` are also here: ``from cluster.core import wire``, ``wire.Hello(…)``.
"""

from cluster.core.wire.messages import *  # noqa: F403 - its __all__ is the one list of these names
