"""Gateway: what the broker of one machine decides when there are others. Its caller performs it.

The rules:

* nodes do not know of the engine. To a node, the nodes of other machines are nodes of its broker,
  and a state that was replaced is a broker that was replaced (local_nodes.py);
* what nodes of this machine say goes to the log. All gateways apply the log (agreed_state.py), and
  send their own nodes what it means to them. Joining, subscriptions and presence reach the nodes of
  this machine at once, and not a second time;
* without the agreed state, before a member has it or after the engine was out of reach for too
  long, barriers and retained topics wait. Nothing is queued for that: a node sends everything again
  when the state is there;
* batches wait for one machine each (inbox_queue.py), and are held until the log that their sender
  had applied is applied here (inbox.py).

``state`` is "joining" until a member has the agreed state, then "joined"; after ``cut_off`` it is
"alone" if there has been no member yet, else "cut off".
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from cluster.core import wire
from cluster.core.broker_state.exchange import Outgoing
from cluster.core.broker_state.topic_history import RetainedFrames
from cluster.core.machines.agreed_state import ALL_NODES
from cluster.core.machines.encodings.inbox_payloads import RoutedBatch
from cluster.core.machines.encodings.log_payloads import GATEWAY
from cluster.core.machines.engine import (
    LEFT,
    Batch,
    Deliveries,
    InboxEntry,
    Joined,
    LogEntry,
    Turn,
)
from cluster.core.machines.inbox import Inbox
from cluster.core.machines.local_nodes import LocalNodes
from cluster.core.machines.names import machine_of, machine_of_member
from cluster.core.machines.remote_view import RemoteView
from cluster.core.machines.replica import Replica
from cluster.core.machines.turn_queue import TurnQueue

LOG_LIMIT = 256 << 20
"""Bytes of events that wait for the log. Above that they are dropped, and all nodes must send
everything again."""


class Gateway:
    """The decisions of one machine's broker. ``epoch`` must be unique for each process.

    A broker uses it as its Exchange. The shell that carries the turns does this:

    * it calls ``joined`` after ``hello``, and ``cut_off`` when the lease is over, the engine says
      Gone, or ``hello`` does not succeed at once;
    * it reads what comes after ``applied`` and ``read_inbox``, passes it to ``read``, and both IDs
      to ``beat``. What was read, and the result of a turn, must not reach the gateway if ``joined``
      or ``cut_off`` was called meanwhile. ``read`` raises Gone as the engine does;
    * after each call it writes what ``take_turn`` returns, and calls ``turn_written``.

    The messages that the methods return are for nodes of this machine; send them in order. Each
    call may change ``nodes``. ``dropped`` counts what was not delivered, by reason; nodes send
    batches again.
    """

    def __init__(self, machine: str, epoch: str) -> None:
        self.machine = machine
        self.state = "joining"
        self.dropped: Counter[str] = Counter()
        self.on_retained: Callable[[wire.Retained], object] = lambda message: None
        """Called with new frames of a topic, or with all that it retains, if this has changed."""
        self._replica = Replica(epoch, self.dropped, lambda message: self.on_retained(message))
        self._view = RemoteView(machine, self._replica, self._is_congested, lambda: self.nodes)
        self._local = LocalNodes(machine, epoch, self._view.for_welcome)
        self._queue = TurnQueue()
        self._inbox = Inbox(self.dropped)
        self._was_joined = False
        self._knows_others = False  # the nodes here have received those of other machines
        self._hellos: Counter[str] = Counter()  # node -> its Hellos that are not applied yet
        self._restored: dict[bytes, int] = {}  # topic -> offset that the state has by this member
        self._notices: Outgoing = []

    # For the broker.

    @property
    def nodes(self) -> tuple[str, ...]:
        """The live nodes of this machine."""
        return self._local.names

    @property
    def machines(self) -> tuple[str, ...]:
        """The other machines that are members."""
        return tuple(each for each in self._replica.members if each != self.machine)

    @property
    def applied(self) -> str:
        """The last entry of the log that was read."""
        return self._replica.applied

    @property
    def read_inbox(self) -> str:
        """The last entry of the inbox that was read. It may be removed."""
        return self._inbox.last

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the engine."""
        return self._queue.size

    @property
    def retained(self) -> RetainedFrames:
        """What is retained; its times are the engine's."""
        return self._replica.state.exchange.retained

    def receive(self, node: str, message: wire.Message, now: int = 0) -> Outgoing:
        """Process a message of a node of this machine."""
        outgoing, event = self._local.receive(node, message)
        return outgoing if event is None else [*outgoing, *self._log(node, event)]

    def leave(self, node: str, ended: bool = False) -> Outgoing:
        """Remove a node that is gone. ``ended``: it will not return."""
        outgoing, event = self._local.leave(node, ended)
        return outgoing if event is None else [*outgoing, *self._log(node, event)]

    def load(self, messages: Iterable[wire.Restore], now: int) -> None:
        """Take over what an earlier broker of this machine has retained. Call it first."""
        self._replica.state.exchange.load(messages, now)

    def history(self, topic: bytes, now: int) -> wire.Retained | None:
        """What a topic retains; frames that have expired may be among it."""
        kept = self._replica.state.exchange.history(topic, 0)  # time must not change the state here
        return None if kept is None else self._replica.times.to_nodes(kept)

    def send_batch(self, origin: str, destination: str, data: bytes) -> bool:
        """Queue a batch for a node of another machine; returns False if there is no such node.

        Then send what ``take_notices`` returns.
        """
        member = self._replica.members.get(machine_of(destination), self._replica.member)
        if member == self._replica.member or destination not in self._replica.state.exchange:
            return False
        marks = self._queue.inbox(member).marks
        was_full = marks.full
        if not self._queue.add_batch(member, RoutedBatch(destination, origin, data)):
            self.dropped["machine_stalled"] += 1
        if marks.full and not was_full:
            self._notices += self._view.congestion(machine_of(destination), True)
        return True

    def take_notices(self) -> Outgoing:
        """Which nodes of other machines are congested, or not any more."""
        notices, self._notices = self._notices, []
        return notices

    def answer(self, request: str, data: bytes) -> None:
        """Answer an external request."""
        if self.state == "joined":
            self._queue.add_answer(request, data)
        else:
            self.dropped["external_answers"] += 1

    # For the shell.

    def joined(self, joined: Joined, now: int) -> Outgoing:
        """This gateway is a member, with a new state."""
        self._clear()
        self.state = "joining"
        self._local.hold()
        return self._begin() if self._replica.join(joined, now) else []

    def cut_off(self) -> Outgoing:
        """This gateway is not a member any more. Its nodes continue alone until ``joined``."""
        outgoing: Outgoing = []
        if self._knows_others:
            # What the engine has acknowledged in the last seconds may be lost with it. So nodes
            # must send it again, and they decide now what that is (pubsub.history_outbox).
            outgoing += [*self._view.left(), *self._local.reset()]
            self._knows_others = False
        self.state = "cut off" if self._was_joined else "alone"
        self._replica.leave()
        self._clear()
        return [*outgoing, *self._admit()]

    def read(self, log: Sequence[LogEntry], inbox: Sequence[InboxEntry]) -> Deliveries:
        """Process what was read, in order. Entries that were read before have no effect.

        Raises Gone if this member was removed, or cannot get the agreed state.
        """
        messages: list[tuple[str, wire.Message | Batch]] = []
        if self._replica.member:
            for message in inbox:
                messages += self._read_inbox(message)
            messages += self._release()
            for entry in log:
                messages += self._read_log(entry)
                messages += self._release()
        return Deliveries(messages, self._inbox.requests() if self.state == "joined" else [])

    def take_turn(self) -> Turn | None:
        """What must be written now, at once. None if there is nothing, or a turn is being written.

        If the engine was full or has not answered, write the same turn again.
        """
        return self._queue.take(self.applied) if self.state == "joined" else None

    def turn_written(self, refused: Collection[str]) -> Outgoing:
        """The turn was written, except to the inboxes of these members; call ``retry`` later."""
        for member, lost in self._queue.written(refused).items():
            self._notices += self._view.congestion(machine_of_member(member), False)
            for origin, destination in lost:
                self._notices += self._view.returned(origin, destination)
        return self.take_notices()

    def retry(self) -> None:
        """The next turn has again what inboxes have refused."""
        self._queue.retry()

    def clock(self, engine: int, now: int) -> None:
        """The engine's time, and this machine's at the same moment, both in milliseconds."""
        self._replica.times.shift = engine - now

    def digest(self) -> str:
        """A hash of the agreed state after the entry ``applied``."""
        return self._replica.state.digest()

    # The log and the inbox.

    def _log(self, node: str, event: wire.Message) -> Outgoing:
        if self.state != "joined":
            return []
        if isinstance(event, wire.Restore):
            event = self._replica.times.to_log(event)
            known = self._restored.get(event.topic, 0)
            if event.offset <= known or not self._replica.state.exchange.lacks(event):
                return []  # without this, each node would write all that it has cached
        elif isinstance(event, wire.Hello):
            self._hellos[node] += 1
        self._queue.add_event(node, event)
        if self._queue.log_size <= LOG_LIMIT:
            return []
        self.dropped["log_queue_full"] += self._queue.drop_events()
        self._hellos.clear()
        return self._local.reset()

    def _read_log(self, entry: LogEntry) -> Outgoing:
        answers, events, begins = self._replica.take_entry(entry)
        if begins:
            return self._begin()
        if entry.kind == LEFT:
            self.dropped["machine_gone"] += self._queue.forget(entry.member)
        if entry.member == self._replica.member:
            for node, message in events:
                if isinstance(message, wire.Hello):
                    self._hellos[node] -= 1
        outgoing: Outgoing = []
        for node, message in answers:
            if node == ALL_NODES:
                outgoing += self._view.about(message)
            elif node not in self._local:
                continue
            elif isinstance(message, wire.Retained):
                outgoing.append((node, self._replica.times.to_nodes(message)))
            # A request for Hello is answered if one is on its way to the log.
            elif not (isinstance(message, wire.UnknownNode) and self._hellos[node] > 0):
                outgoing.append((node, message))
        for member, pieces in self._replica.snapshots():
            self._queue.add_snapshot(member, pieces)
        return outgoing

    def _read_inbox(self, entry: InboxEntry) -> Outgoing:
        piece = self._inbox.take(entry)
        if piece is None or not self._replica.take_piece(entry.member, piece):
            return []
        return self._begin()

    def _release(self) -> list[tuple[str, wire.Message | Batch]]:
        released: list[tuple[str, wire.Message | Batch]] = []
        for destination, origin, data in self._inbox.release(self.applied):
            if destination in self._local:
                released.append((destination, Batch(origin, data)))
            else:
                self.dropped["node_gone"] += 1
        return released

    def _begin(self) -> Outgoing:
        """This member has the agreed state: tell the others, and ask all nodes for theirs."""
        self.state = "joined"
        self._was_joined = self._knows_others = True
        self._queue.ready = True
        self._restored = {}
        for restore in self._replica.missing:
            self._queue.add_event(GATEWAY, restore)
            self._restored[restore.topic] = restore.offset
        return [*self._local.reset(), *self._admit()]

    def _admit(self) -> Outgoing:
        hellos = self._local.admit()
        return [each for node, hello in hellos for each in self.receive(node, hello)]

    def _clear(self) -> None:
        """Drop what waits to be written, and what is held. Nodes send it again."""
        self.dropped["machine_gone"] += self._queue.batch_count
        self._queue = TurnQueue()
        self._inbox.clear()
        self._hellos.clear()
        self._notices = []

    def _is_congested(self, machine: str) -> bool:
        member = self._replica.members.get(machine)
        return member is not None and self._queue.is_full(member)
