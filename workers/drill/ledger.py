"""What a client has received, compared with what was sent. Pure.

A message has a number, from 1. It is *confirmed* when its sender has received an answer for it;
without one it may have been published or not. The order is not checked: messages that are published
on different nodes have none.
"""

from collections.abc import Callable, Collection, Mapping

DoubleFaults = Callable[[], list[tuple[float, float]]]
"""Returns the times in which both the broker and a node were killed: (from, until)."""


class Ledger:
    """The messages of one topic that one client has received.

    Call `received` with each number, and `announced` when the client is notified that it may
    have missed messages. Then call `violations`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.gaps = 0  # announced
        self._numbers: list[int] = []
        self._known: dict[int, str] = {}  # number -> where it was received
        self._excused: set[int] = set()  # indexes of numbers before which a gap was announced
        self._twice: list[str] = []
        self._replayed = False  # after an announced loss a client receives all that is kept

    @property
    def last(self) -> int:
        """The highest number received."""
        return max(self._numbers, default=0)

    @property
    def count(self) -> int:
        """How many messages have been received."""
        return len(self._numbers)

    @property
    def twice(self) -> str:
        """The messages that were received twice, as a line; empty if there are none."""
        return f"{self.name} received twice: {_some(self._twice)}" if self._twice else ""

    def knows(self, number: int) -> bool:
        """Whether a message has been received."""
        return number in self._known

    def received(self, number: int, position: str = "") -> None:
        """A message has arrived. position: in the history of its topic, for the violation."""
        if number not in self._known:
            self._known[number] = position
            self._numbers.append(number)
            self._replayed = False
        elif not self._replayed:
            known = self._known[number]
            self._twice.append(f"{number} at {known}, {position}" if position else str(number))

    def announced(self) -> None:
        """The client is notified that messages before the next one may be missing."""
        self.gaps += 1
        self._replayed = True
        self._excused.add(len(self._numbers))

    def violations(self, confirmed: Collection[int]) -> list[str]:
        """Return what is wrong, one line each. confirmed: the numbers that must have arrived."""
        found = []
        if self._twice:
            found.append(self.twice)
        missing = set(confirmed) - self._known.keys() - self._excused_numbers()
        if missing:
            numbers = [str(number) for number in sorted(missing)]
            found.append(f"{self.name} missed without notice: {_some(numbers)}")
        return found

    def _excused_numbers(self) -> set[int]:
        """The numbers inside announced gaps."""
        excused: set[int] = set()
        for index in self._excused:
            before = max(self._numbers[:index], default=0)
            after = self._numbers[index] if index < len(self._numbers) else before + 1
            excused.update(range(before + 1, after))
        return excused


class Positions:
    """The positions of messages in the history of one topic, as all clients receive them.

    Call `received` with each message. No two messages may have the same position: a client that
    resumes there would miss one of them.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._numbers: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many positions are known."""
        return len(self._numbers)

    def received(self, position: str, number: int) -> None:
        """A client has received a message with its position."""
        known = self._numbers.setdefault(position, number)
        if known != number:
            self.violations.append(f"feed: messages {known} and {number} are both at {position}")


def unprotected(
    confirmed: Mapping[int, float],
    ledgers: Collection[Ledger],
    double_faults: Collection[tuple[float, float]],
) -> set[int]:
    """Return the messages that no client has because their node and the broker were both killed.

    Until a broker has numbered it, a publication is kept by its publisher's node only. confirmed:
    number -> when it was confirmed.
    """
    return {
        number
        for number, at in confirmed.items()
        if any(since <= at <= until for since, until in double_faults)
        and not any(ledger.knows(number) for ledger in ledgers)
    }


def _some(numbers: list[str]) -> str:
    shown = ", ".join(numbers[:10])
    return f"{shown} …, {len(numbers)} in all" if len(numbers) > 10 else shown
