"""Breaks a rule of the link between nodes in each process of Python that starts with this folder on
its path, to show that the drill notices it. The variable C10K_BROKEN_RULE is "batches".
"""

import os


def deliver_repeated_batches() -> None:
    """A receiver delivers batches that it has received already."""
    from cluster.core.acknowledged_batches import ReceivedBatches, Verdict

    receive = ReceivedBatches.receive

    def receive_any(self: ReceivedBatches, number: int, first: int, size: int) -> Verdict:
        verdict = receive(self, number, first, size)
        return Verdict.DELIVER if verdict is Verdict.REPEATED else verdict

    ReceivedBatches.receive = receive_any  # type: ignore[method-assign]


if os.environ.get("C10K_BROKEN_RULE") == "batches":
    deliver_repeated_batches()
