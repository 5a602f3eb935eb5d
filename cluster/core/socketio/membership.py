"""Membership: the rooms of a socket, with the offsets of the log at which it joined and left them.

The events of a namespace are a log, in which each has an offset. The rules:

* a socket receives the events after ``start`` that are for it at their offset;
* a room that is joined at an offset has the socket as a member for all later events; one that is
  left at an offset, for the events up to it;
* an event without rooms is for every socket; one with rooms is for the sockets that are in any of
  them, and in none of those that are skipped. The id of a socket is a room that only it is in;
* the rooms that were left are remembered for the events that are replayed, the newest MAX_LEFT.
  ``known_from`` is the offset after which everything is known;
* when the offsets begin to be counted by another process, offsets that only the former one has
  given cannot be compared with the new ones (``renumbered``).
"""

from collections.abc import Iterable, Sequence
from typing import Any

MAX_LEFT = 100
"""Rooms that a socket has left, with their offsets, that are remembered."""


class Membership:
    """The rooms of one socket.

    Args:
        id: The id of the socket.
        start: The offset after which it receives events.
    """

    __slots__ = ("id", "joined", "known_from", "left", "start")

    def __init__(self, id: str, start: int) -> None:
        self.id = id
        self.start = start
        self.known_from = start
        self.joined: dict[str, int] = {}
        self.left: list[tuple[str, int, int]] = []

    def join(self, room: str, offset: int) -> None:
        """Join a room after the event with this offset. Joining it again has no effect."""
        self.joined.setdefault(room, offset)

    def leave(self, room: str, offset: int) -> None:
        """Leave a room after the event with this offset; ignored if the socket is not in it."""
        since = self.joined.pop(room, offset)
        if since < offset:
            self.left.append((room, since, offset))
            if len(self.left) > MAX_LEFT:
                self.known_from = max(self.known_from, self.left.pop(0)[2])

    def was_in(self, room: str, offset: int) -> bool:
        """Whether the event with this offset reached the socket if it was for the room."""
        if room == self.id or self.joined.get(room, offset) < offset:
            return True
        return any(name == room and since < offset <= end for name, since, end in self.left)

    def receives(self, rooms: Sequence[str], skipped: Iterable[str], offset: int) -> bool:
        """Whether an event is for the socket.

        Args:
            rooms: The rooms that it is for; every socket without any.
            skipped: The rooms that it is not for.
            offset: Its offset.
        """
        if offset <= self.start:
            return False
        if rooms and not any(self.was_in(room, offset) for room in rooms):
            return False
        return not any(self.was_in(room, offset) for room in skipped)

    def resume_after(self, offset: int) -> int | None:
        """The offset after which events must be replayed to a client that has received those up to
        ``offset``; None if it is not known which of them are for the socket."""
        offset = max(offset, self.start)
        return None if offset < self.known_from else offset

    def renumbered(self, last: int, newest: int) -> None:
        """Offsets above ``last`` belong to other events now; ``newest`` is the last one given."""
        given = (self.start, *self.joined.values(), *(end for _, _, end in self.left))
        if max(given) <= last and self.known_from <= last:
            return
        self.known_from = newest
        self.start = min(self.start, last)
        self.joined = {room: min(offset, last) for room, offset in self.joined.items()}
        self.left.clear()

    def as_json(self) -> list[Any]:
        """The membership as a value for JSON."""
        return [self.start, self.known_from, self.joined, self.left]

    @classmethod
    def from_json(cls, id: str, value: Any) -> "Membership":
        """The membership of ``as_json``.

        Raises:
            ValueError: It is none.
        """
        try:
            start, known_from, joined, left = value
            found = cls(id, int(start))
            found.known_from = int(known_from)
            found.joined = {str(room): int(offset) for room, offset in joined.items()}
            found.left.extend((str(room), int(since), int(end)) for room, since, end in left)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"no membership: {error}") from None
        return found
