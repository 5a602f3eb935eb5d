"""Batches of the other nodes: decodes them, and detects gaps and duplicates.

Each node numbers the batches that it sends to this one (core.sequence_numbers). A skipped number is
a gap: publications are lost, which is counted and logged. A batch with an old number is a
duplicate.
"""

from collections import Counter
from collections.abc import Callable

from twisted.logger import Logger

from cluster.core.exceptions import WireError
from cluster.core.sequence_numbers import SequenceTracker, Verdict
from cluster.core.wire.fields import decode_batch

MAX_ORIGINS = 1024
"""Nodes whose numbers are remembered. The numbers of nodes that have left are kept up to this
limit, because a node whose link was lost reconnects and continues its numbers."""


class IncomingBatches:
    """``is_present(node)`` returns whether a node is live; ``dropped`` counts lost publications and
    rejected batches."""

    log = Logger()

    def __init__(self, dropped: Counter[str], is_present: Callable[[str], bool]) -> None:
        self.gaps = 0
        self.origins: dict[str, SequenceTracker] = {}
        self._dropped = dropped
        self._is_present = is_present

    def unpack(self, origin: str, data: bytes) -> list[bytes]:
        """The publications (topic, frame, topic, frame, …) of a batch.

        Empty if the batch is malformed or a duplicate; both are counted.
        """
        try:
            sequence, items = decode_batch(data)
            tracker = self.origins.get(origin)
            if tracker is None:
                tracker = self._track(origin)
            verdict = tracker.observe(sequence)
        except (WireError, ValueError) as error:
            self._dropped["malformed"] += 1
            self.log.warn("dropped a batch of {origin}: {error}", origin=origin, error=error)
            return []
        if verdict is not Verdict.IN_ORDER:
            if verdict is Verdict.DUPLICATE:
                self._dropped["duplicate_batch"] += 1
                return []
            self.gaps += 1
            self.log.error(
                "batches of {origin} before number {sequence} are lost",
                origin=origin,
                sequence=sequence,
            )
        return items

    def _track(self, origin: str) -> SequenceTracker:
        if len(self.origins) >= MAX_ORIGINS:
            gone = next((name for name in self.origins if not self._is_present(name)), None)
            if gone is not None:
                del self.origins[gone]
        tracker = self.origins[origin] = SequenceTracker()
        return tracker
