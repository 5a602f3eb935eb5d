"""Counts the messages of channel layers that are dropped, and logs them at a bounded rate.

The counts of a node are part of ``c10k_messages_dropped_total``.
"""

from collections import Counter

from twisted.logger import Logger

from cluster.logs.rate_limit import LimitedLog

FULL = "channel_full"
"""A member of a group, or a channel of another process, had as many unread messages as fit."""

EXPIRED = "channel_expired"
"""A message was not read in time."""

GONE = "channel_gone"
"""The process of the channel has ended."""

MALFORMED = "malformed"
"""An envelope from another process cannot be decoded."""

_TEXTS = {
    FULL: "the channel {channel} is full: its consumer does not read its messages",
    EXPIRED: "a message on the channel {channel} was not read in time",
    GONE: "the process of the channel {channel} has ended",
    MALFORMED: "invalid data on the topic {channel}",
}


class Drops:
    """``counts``: dropped messages by reason; ``node_counts``: the counts of this process's node.

    Any thread may call ``add``.
    """

    log = Logger()

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.node_counts: Counter[str] = Counter()
        self._log = LimitedLog(self.log.warn, "messages of the channel layer dropped")

    def add(self, reason: str, channel: str, count: int = 1) -> None:
        """Count dropped messages of a channel."""
        self.counts[reason] += count
        self.node_counts[reason] += count
        self._log(
            reason,
            "the channel layer dropped {count} message(s): " + _TEXTS[reason],
            count=count,
            channel=channel,
        )
