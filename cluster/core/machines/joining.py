"""Joining: a member that does not have the agreed state yet.

The rules:

* it keeps the log from its own Joined entry on, and applies it to the snapshot when that is
  complete. The snapshot says after which entry it was taken;
* it follows who is a member. If no other one can be ready, because all that had joined before it
  are gone and no later one has said that it is ready, it begins with an empty state;
* the kept entries are limited to MAX_BYTES. A member for which that is not enough joins again.
"""

from collections import deque

from cluster.core.exceptions import WireError
from cluster.core.machines.agreed_state import AgreedState
from cluster.core.machines.encodings.inbox_payloads import SnapshotPiece
from cluster.core.machines.encodings.log_payloads import says_ready
from cluster.core.machines.engine import JOINED, LEFT, Gone, Joined, LogEntry, log_order
from cluster.core.machines.membership import Membership
from cluster.core.machines.snapshot_transfer import SnapshotReceiver

MAX_BYTES = 256 << 20
"""Bytes of log entries that are kept until the snapshot is complete: as many as all retained topics
may have, so more than is written to the log while a snapshot of them is sent."""


class Joining:
    """Pass each entry of the log to ``add``, each piece of a snapshot to ``receive``.

    Both return the state as soon as there is one. ``log_id`` is then the last entry that it
    includes, and this object is of no use any more.
    """

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.log_id = joined.log_id
        self._membership = Membership(joined.members)
        self._entries: deque[LogEntry] = deque()
        self._size = 0
        self._snapshot = SnapshotReceiver()

    def begin(self) -> AgreedState | None:
        """An empty state, if this member must begin with one."""
        member = self.joined.member
        if self._membership.beginner != member:
            return None
        # A generation may have several beginners, one after the other, so it is not enough for a
        # new epoch.
        epoch = self.joined.generation + member.rpartition("~")[2]
        return AgreedState(epoch, self._membership.members)

    def add(self, entry: LogEntry) -> AgreedState | None:
        """Keep the next entry. Raises Gone if it is this member's end, or if there are too many."""
        self.log_id = entry.id
        if entry.kind == JOINED:
            self._membership.join(entry.member)
        elif entry.kind == LEFT:
            self._membership.leave(entry.member)
            if entry.member == self.joined.member:
                raise Gone(f"{entry.member} was removed")
        elif says_ready(entry.data):
            self._membership.set_ready(entry.member)
        self._entries.append(entry)
        self._size += len(entry.data)
        if self._size > MAX_BYTES:
            raise Gone("the state of the other machines did not arrive in time; joining again")
        return self.begin()

    def receive(self, sender: str, piece: SnapshotPiece) -> AgreedState | None:
        """Take a piece of a snapshot. Raises Gone if the snapshot cannot be used."""
        try:
            records = self._snapshot.receive(sender, piece)
            if records is None:
                return None
            state = AgreedState.restored(records)
        except WireError as error:
            raise Gone(f"the state of {sender} cannot be used: {error}") from error
        for entry in self._entries:
            if log_order(entry.id) > log_order(piece.log_id):
                state.apply(entry)
        self.log_id = max(self.log_id, piece.log_id, key=log_order)
        return state
