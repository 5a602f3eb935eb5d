"""The parties of this node at the cluster's barriers.

The exchange decides when a barrier is released (core.broker_state.barrier). This module forwards
its answers to the callbacks of the parties. Each party has a token that is unique in this node.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cluster.core import wire

OnReleased = Callable[[], None]
OnRefused = Callable[[str], None]


@dataclass(slots=True)
class _Parties:
    expected: int
    waiting: dict[int, tuple[OnReleased, OnRefused]] = field(default_factory=dict)
    released: dict[int, None] = field(default_factory=dict)


class LocalBarriers:
    """The parties of this node. ``send`` queues a message for the exchange."""

    def __init__(self, send: Callable[[wire.Message], None]) -> None:
        self._send = send
        self._barriers: dict[str, _Parties] = {}
        self._last_token = 0

    def arrive(self, name: str, expected: int, released: OnReleased, refused: OnRefused) -> int:
        """Become a party of a barrier; returns the token for ``leave``.

        Exactly one of the callbacks is called, unless the party leaves first. Raises ValueError if
        ``expected`` is negative, or if ``name`` cannot be encoded.
        """
        if not 0 <= expected < 1 << 63:
            raise ValueError(f"a barrier waits for 1 or more parties, not {expected}")
        name.encode()  # raises for this caller, rather than in the flush of the whole node
        self._last_token += 1
        token = self._last_token
        parties = self._barriers.get(name)
        if parties is None:
            parties = self._barriers[name] = _Parties(expected)
        parties.waiting[token] = (released, refused)
        self._send(wire.Arrive(name, expected, (token,)))
        return token

    def leave(self, name: str, token: int) -> None:
        """Cease to be a party, waiting or released; no callback is called after this."""
        parties = self._barriers.get(name)
        if parties is None:
            return
        if parties.waiting.pop(token, None) is None:
            if token not in parties.released:
                return
            del parties.released[token]
        self._send(wire.Withdraw(name, (token,)))
        self._forget_if_empty(name, parties)

    def released(self, name: str, tokens: Iterable[int]) -> None:
        """The exchange has released parties."""
        parties = self._barriers.get(name)
        if parties is None:
            return
        # Look up each party just before its callback: an earlier callback may have called ``leave``
        # for it.
        for token in tokens:
            callbacks = parties.waiting.pop(token, None)
            if callbacks is not None:
                parties.released[token] = None
                callbacks[0]()

    def refused(self, name: str, tokens: Iterable[int]) -> None:
        """The exchange has refused parties."""
        parties = self._barriers.get(name)
        if parties is None:
            return
        for token in tokens:
            callbacks = parties.waiting.pop(token, None)
            if callbacks is not None:
                self._forget_if_empty(name, parties)
                callbacks[1]("the barrier is full or released already")

    def all_arrivals(self) -> Iterator[wire.Arrive]:
        """Messages about all parties of this node, for an exchange that does not know them."""
        for name, parties in self._barriers.items():
            if parties.released:
                yield wire.Arrive(name, parties.expected, tuple(parties.released), released=True)
            if parties.waiting:
                yield wire.Arrive(name, parties.expected, tuple(parties.waiting))

    @staticmethod
    def merge(messages: Iterable[wire.Message]) -> list[wire.Message]:
        """The same in fewer messages: 1,000 parties that arrive in one turn make one message."""
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

    def _forget_if_empty(self, name: str, parties: _Parties) -> None:
        if not parties.waiting and not parties.released:
            del self._barriers[name]
