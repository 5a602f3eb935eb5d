"""Replica: the agreed state of one gateway, from ``hello`` on.

The rules:

* a member first waits for the state (joining.py). From then on it applies each entry of the log;
* while it has no state, the last one that it had stays readable: what is retained, for the broker's
  file and for the next state;
* a state that begins empty takes over what the last one retained. Of another state the topics are
  ``missing`` that it lacks: the gateway writes them to the log;
* if it is this member's duty (membership.py), it takes a snapshot for each waiting member.

Times are Unix times in milliseconds. The log has those of the engine's clock, nodes those of this
machine's; ``times`` converts the times at which frames expire.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cluster.core import wire
from cluster.core.broker_state.exchange import Outgoing
from cluster.core.machines.agreed_state import AgreedState
from cluster.core.machines.encodings.inbox_payloads import SnapshotPiece
from cluster.core.machines.encodings.log_payloads import Event
from cluster.core.machines.engine import (
    LEFT,
    START,
    TURN,
    Gone,
    Joined,
    LogEntry,
    log_order,
    log_time,
)
from cluster.core.machines.expiry import ShiftedTimes
from cluster.core.machines.joining import Joining
from cluster.core.machines.names import machine_of_member
from cluster.core.machines.snapshot_transfer import divide


class Step(NamedTuple):
    """The effect of one entry: answers to nodes, and the events of the entry.

    ``begins``: the member has the agreed state from now on.
    """

    answers: Outgoing
    events: tuple[Event, ...] = ()
    begins: bool = False


class Replica:
    """``epoch`` marks the offsets of the first state, which has no nodes. ``ignored`` counts the
    entries that were ignored, by reason. ``on_retained`` is called with what topics retain, if it
    has changed, in the times of this machine."""

    def __init__(
        self,
        epoch: str,
        ignored: Counter[str],
        on_retained: Callable[[wire.Retained], object],
    ) -> None:
        self.times = ShiftedTimes()
        self.state = AgreedState(epoch)
        self.member = ""
        self.members: dict[str, str] = {}
        """Machine -> its member, while this member has the state."""
        self.applied = START
        """The last entry that was taken."""
        self.missing: list[wire.Restore] = []
        self._ignored = ignored
        self._on_retained = on_retained
        self._joining: Joining | None = None
        self._shift = 0
        self._served: set[str] = set()

    def join(self, joined: Joined, now: int) -> bool:
        """Become another member; returns whether it has the state already."""
        self.leave()
        self.member = joined.member
        self.applied = joined.log_id
        self._joining = Joining(joined)
        self._shift = log_time(joined.log_id) - now
        return self._begin(self._joining.begin(), is_first=True)

    def leave(self) -> None:
        """Be a member no longer."""
        self.member = ""
        self.members = {}
        self.missing = []
        self._joining = None
        self._served.clear()

    def take_entry(self, entry: LogEntry) -> Step:
        """Take the next entry of the log. Entries that were taken before have no effect.

        Raises Gone if it removes this member, or if this member cannot get the state.
        """
        if log_order(entry.id) <= log_order(self.applied):
            return Step([])
        self.applied = entry.id
        if entry.kind == LEFT and entry.member == self.member:
            raise Gone(f"{entry.member} was removed")
        if self._joining is not None:
            return Step([], begins=self._begin(self._joining.add(entry), is_first=True))
        answers, events = self.state.apply(entry)
        if entry.kind != TURN:
            self._set_members()
            self._served.intersection_update(self.members.values())
        return Step(answers, events)

    def take_piece(self, sender: str, piece: SnapshotPiece) -> bool:
        """Take a piece of a snapshot; returns whether this member has the state now.

        Raises Gone if the pieces are no snapshot.
        """
        if self._joining is None:
            return False
        return self._begin(self._joining.receive(sender, piece), is_first=False)

    def snapshots(self) -> Iterator[tuple[str, Iterator[SnapshotPiece]]]:
        """The members to which this one must send its state now, and the pieces for them."""
        membership = self.state.membership
        if self.members and membership.sender == self.member:
            for member in membership.waiting:
                if member not in self._served:
                    self._served.add(member)
                    yield member, divide(self.applied, self.state.snapshot())

    def _begin(self, state: AgreedState | None, is_first: bool) -> bool:
        if state is None or self._joining is None:
            return False
        before = self.state.exchange
        kept = [self.times.to_nodes(each) for each in before.histories()]
        self.times.shift = self._shift
        self.applied = self._joining.log_id
        restores = [self.times.to_log(_restore(each)) for each in kept]
        if is_first:
            state.exchange.load(restores, log_time(self.applied))
        self.missing = [each for each in restores if state.exchange.lacks(each)]
        state.ignored = self._ignored
        self.state = state
        self._joining = None
        self._set_members()
        for history in state.exchange.histories():
            known = before.retained.get(history.topic)
            if known is None or (known.epochs, known.offset) != (history.epochs, history.offset):
                self._report(history)
        state.exchange.on_retained = self._report
        return True

    def _report(self, history: wire.Retained) -> None:
        self._on_retained(self.times.to_nodes(history))

    def _set_members(self) -> None:
        members = self.state.membership.members
        self.members = {machine_of_member(member): member for member in members}


def _restore(kept: wire.Retained) -> wire.Restore:
    return wire.Restore(
        kept.topic, kept.depth, kept.offset, kept.frames, kept.epochs, kept.expires, kept.sources
    )
