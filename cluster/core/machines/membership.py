"""Membership: the members of a generation, and which of them have the agreed state.

The rules:

* members are in the order in which they joined;
* a member that has joined waits until it has the agreed state. It is *ready* from its first turn
  in the log on;
* the oldest ready member sends each waiting one a snapshot, once. If it leaves before the other one
  is ready, the next oldest ready member does that;
* if no member is ready, the oldest one begins with an empty state, and then writes its first turn.
"""

from collections.abc import Iterable


class Membership:
    """Call the methods in the order of the log."""

    def __init__(self, members: Iterable[str] = ()) -> None:
        self._is_ready = dict.fromkeys(members, False)

    def __contains__(self, member: str) -> bool:
        return member in self._is_ready

    @property
    def members(self) -> tuple[str, ...]:
        """All members, the oldest first."""
        return tuple(self._is_ready)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The members that wait for a snapshot."""
        return tuple(member for member, is_ready in self._is_ready.items() if not is_ready)

    @property
    def sender(self) -> str:
        """The member that sends snapshots: the oldest ready one; empty if there is none."""
        return next((member for member, is_ready in self._is_ready.items() if is_ready), "")

    @property
    def beginner(self) -> str:
        """The member that begins with an empty state; empty if a member is ready."""
        return "" if self.sender else next(iter(self._is_ready), "")

    def is_ready(self, member: str) -> bool:
        """Whether a member is one, and ready."""
        return self._is_ready.get(member, False)

    def join(self, member: str) -> None:
        """A member has joined."""
        self._is_ready[member] = False

    def leave(self, member: str) -> None:
        """A member has left; ignored if it is none."""
        self._is_ready.pop(member, None)

    def set_ready(self, member: str) -> None:
        """A member has said that it is ready; ignored if it is none."""
        if member in self._is_ready:
            self._is_ready[member] = True

    def snapshot(self) -> tuple[tuple[str, bool], ...]:
        """All of it, as plain values for restore_snapshot."""
        return tuple(self._is_ready.items())

    def restore_snapshot(self, values: Iterable[tuple[str, bool]]) -> None:
        """Replace all members."""
        self._is_ready = dict(values)
