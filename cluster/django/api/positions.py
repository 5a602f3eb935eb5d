"""Positions in the history of a topic, as clients send them."""

from cluster.core.broker_state.retained_topic import parse_position
from cluster.core.interfaces import Position

NO_POSITION: Position = ("", 0)
"""A position from which nothing can be recovered: no topic has this epoch."""


def parse_since(since: str | None) -> Position | None:
    """The position after which messages are wanted; None for all that the topic retains.

    The text comes from a client, which may send anything: text that is not a position (or empty) is
    not an error but NO_POSITION. Raises TypeError for anything else than text.
    """
    if since is None:
        return None
    if not isinstance(since, str):
        raise TypeError(f"since is a position, as text, not {since!r}")
    try:
        return parse_position(since)
    except ValueError:
        return NO_POSITION
