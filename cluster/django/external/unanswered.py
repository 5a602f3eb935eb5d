"""Publications that have no answer yet, and the errors that answer them."""

from cluster.core.exceptions import NotPublished
from cluster.core.wire.external_publisher import Accepted
from cluster.django.api.publication import Done


class Unanswered:
    """A publication without an answer: it waits to be sent, or was sent.

    Args:
        data: The encoded message.
        done: Called with the answer; None if a thread waits for it.
    """

    __slots__ = ("_done", "answer", "data")

    def __init__(self, data: bytes, done: Done | None) -> None:
        self.data = data
        self.answer: Accepted | Exception | None = None
        self._done = done

    def result(self) -> Accepted:
        """Return the answer, or raise it if it is an error. Call it when there is one."""
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer

    def report(self) -> None:
        """Call ``done`` with the answer, if there is one, and only once.

        Not with a lock held: ``done`` may log, and a log handler may publish.
        """
        if self.answer is not None:
            done, self._done = self._done, None
            if done is not None:
                done(self.answer)


def refused(reason: str) -> NotPublished:
    """The error for a Rejection."""
    return NotPublished(f"the cluster refused a publication: {reason}")


def uncertain(reason: str) -> NotPublished:
    """The error for a publication that was sent and will have no answer."""
    return NotPublished(f"{reason}; the message may have been published", uncertain=True)
