"""The parties that this node has at the cluster's barriers.

The exchange decides who is let go (core.barrier); here the answers find their way back to those who
wait. Each party gets a token that is unique in this node.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cluster.core import wire

Released = Callable[[], None]
Refused = Callable[[str], None]


@dataclass(slots=True)
class _Parties:
    expected: int
    waiting: dict[int, tuple[Released, Refused]] = field(default_factory=dict)
    inside: dict[int, None] = field(default_factory=dict)


class LocalBarriers:
    """``send`` takes the messages for the exchange."""

    def __init__(self, send: Callable[[wire.Message], None]) -> None:
        self._send = send
        self._barriers: dict[str, _Parties] = {}
        self._last_token = 0

    def arrive(self, name: str, expected: int, released: Released, refused: Refused) -> int:
        """Be a party of a barrier; exactly one of the callbacks is called, unless it leaves first.

        Returns the token to leave with.
        """
        if not 0 <= expected < 1 << 63:
            raise ValueError(f"a barrier waits for 1 or more parties, not {expected}")
        name.encode()  # what cannot be sent fails here, not in everybody's next flush
        self._last_token += 1
        token = self._last_token
        parties = self._barriers.get(name)
        if parties is None:
            parties = self._barriers[name] = _Parties(expected)
        parties.waiting[token] = (released, refused)
        self._send(wire.Arrive(name, expected, (token,)))
        return token

    def leave(self, name: str, token: int) -> None:
        """Be a party no more, be it waiting or let go; neither callback is called any more."""
        parties = self._barriers.get(name)
        if parties is None:
            return
        if parties.waiting.pop(token, None) is None:
            if token not in parties.inside:
                return
            del parties.inside[token]
        self._send(wire.Withdraw(name, (token,)))
        self._clean(name, parties)

    def released(self, name: str, tokens: Iterable[int]) -> None:
        """The exchange lets these go."""
        parties = self._barriers.get(name)
        if parties is None:
            return
        for token in tokens:  # one by one: a callback may have others leave, who then are not told
            callbacks = parties.waiting.pop(token, None)
            if callbacks is not None:
                parties.inside[token] = None
                callbacks[0]()

    def refused(self, name: str, tokens: Iterable[int]) -> None:
        """The exchange does not let these in."""
        parties = self._barriers.get(name)
        if parties is None:
            return
        for token in tokens:
            callbacks = parties.waiting.pop(token, None)
            if callbacks is not None:
                self._clean(name, parties)
                callbacks[1]("the barrier is full or released already")

    def all_arrivals(self) -> Iterator[wire.Arrive]:
        """Everybody who is here, for an exchange that has just started."""
        for name, parties in self._barriers.items():
            if parties.inside:
                yield wire.Arrive(name, parties.expected, tuple(parties.inside), released=True)
            if parties.waiting:
                yield wire.Arrive(name, parties.expected, tuple(parties.waiting))

    @staticmethod
    def merge(messages: Iterable[wire.Message]) -> list[wire.Message]:
        """The same in fewer messages: a thousand cells that arrive in one iteration make one."""
        merged: list[wire.Message] = []
        for message in messages:
            last = merged[-1] if merged else None
            match last, message:
                case wire.Arrive(barrier, expected, tokens), wire.Arrive(name, count, more) if (
                    name,
                    count,
                ) == (barrier, expected):
                    merged[-1] = wire.Arrive(name, count, tokens + more)
                case wire.Withdraw(barrier, tokens), wire.Withdraw(name, more) if name == barrier:
                    merged[-1] = wire.Withdraw(name, tokens + more)
                case _:
                    merged.append(message)
        return merged

    def _clean(self, name: str, parties: _Parties) -> None:
        if not parties.waiting and not parties.inside:
            del self._barriers[name]
