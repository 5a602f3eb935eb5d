"""Publication: a message on its way, and the answer to it."""

from collections.abc import Callable
from typing import NamedTuple

from cluster.django.api.history_settings import NOT_KEPT, Kept


class Publication(NamedTuple):
    """An encoded message.

    Attributes:
        topic: The topic as it travels.
        frame: The encoded WebSocket frame.
        kept: How many messages of the topic are retained, and for how long.
        here: Whether only the subscribers of this node receive it.
    """

    topic: bytes
    frame: bytes
    kept: Kept = NOT_KEPT
    here: bool = False


Counts = tuple[int, int]
"""Nodes with subscribers, and connections of the node that published."""

Done = Callable[[Counts | Exception], None]
"""Called once with the counts, or with the reason why there are none; from any thread."""
