"""The messages between processes <-> bytes.

messages             between a node and the broker: their list, joining, subscriptions, barriers
topic_messages       between a node and the broker: retained topics and presence
fields               fields, the base of all messages, and batches of publications
external_publisher   between a node and an external publisher

The names of ``messages`` are also here: ``from cluster.core import wire``, ``wire.Hello(…)``.
"""

from cluster.core.wire.messages import (
    BATCH,
    VERSION,
    Acknowledged,
    Arrive,
    Cleared,
    Congested,
    Goodbye,
    Hello,
    Joined,
    Left,
    Message,
    NodeSubscriptions,
    PresenceUpdate,
    Query,
    Refuse,
    Rejected,
    Release,
    Restore,
    Retain,
    Retained,
    UnknownNode,
    Welcome,
    Withdraw,
    decode,
    encode,
)

__all__ = [
    "BATCH",
    "VERSION",
    "Acknowledged",
    "Arrive",
    "Cleared",
    "Congested",
    "Goodbye",
    "Hello",
    "Joined",
    "Left",
    "Message",
    "NodeSubscriptions",
    "PresenceUpdate",
    "Query",
    "Refuse",
    "Rejected",
    "Release",
    "Restore",
    "Retain",
    "Retained",
    "UnknownNode",
    "Welcome",
    "Withdraw",
    "decode",
    "encode",
]
