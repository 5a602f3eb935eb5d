"""Follower: application code of this node that is called with each frame of a topic."""

from collections.abc import Callable

from twisted.logger import Logger

from cluster.bus.copies import Copies

Take = Callable[[bytes, int], None]
"""Called with a frame and its number; 0: the topic keeps no frames."""


class Follower:
    """Called until ``stop``; what it raises is logged and hurts nobody else.

    ``for_client``: what it takes goes to a client, who counts in receipts like any connection.
    """

    __slots__ = ("_copies", "_take", "for_client", "leave", "topic")

    log = Logger()

    def __init__(self, topic: bytes, take: Take, copies: Copies, for_client: bool = False) -> None:
        self.topic = topic
        self.for_client = for_client
        self._copies = copies
        self.leave: Callable[[], None] | None = lambda: None
        self._take = take

    @property
    def epoch(self) -> str:
        """The epoch of the numbers that ``take`` is called with now; "" if nothing is kept."""
        kept = self._copies.get(self.topic)
        return "" if kept is None else kept.epoch

    def stop(self) -> None:
        """Hear no more; a second time does nothing."""
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    def take(self, frame: bytes, offset: int) -> None:
        """A frame has come."""
        if self.leave is None:  # stopped by one that was called before it
            return
        try:
            self._take(frame, offset)
        except Exception:
            self.log.failure("a follower of {topic} failed", topic=self.topic)
