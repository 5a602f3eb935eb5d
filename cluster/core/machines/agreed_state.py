"""AgreedState: what all gateways agree on, because each applies the same log in the same order.

The rules:

* the state is that of an Exchange with the nodes of all machines, and the Membership;
* nothing but the log changes it. Time is that of the log's entries, so that frames expire at the
  same entry everywhere;
* a member that leaves takes its nodes with it;
* what cannot be decoded, or comes from a member that is not ready, is ignored, and counted as
  ``malformed`` or ``not_ready``. All gateways ignore the same;
* two states that have applied the same entries have equal digests.

The exchange answers the nodes of all machines. A gateway takes the answers for its own nodes, and
those for ALL_NODES: they tell nodes of each other.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

from cluster.core import wire
from cluster.core.broker_state.barrier import Barrier
from cluster.core.broker_state.exchange import Exchange, Outgoing
from cluster.core.exceptions import WireError
from cluster.core.machines.encodings.log_payloads import GATEWAY, Event, decode_log_payload
from cluster.core.machines.encodings.plain_values import encode_value
from cluster.core.machines.engine import JOINED, LEFT, LogEntry, log_time
from cluster.core.machines.membership import Membership
from cluster.core.machines.names import machine_of, machine_of_member
from cluster.core.machines.snapshot_transfer import Record

ALL_NODES = ""
"""In place of a node: all nodes but the one that the message names."""


class AgreedExchange(Exchange):
    """An Exchange that says once what all other nodes receive, and welcomes nobody."""

    def _welcome(self, node: str, others: tuple[str, ...]) -> Outgoing:
        return []

    def _to_others(self, node: str, message: wire.Message) -> Outgoing:
        return [(ALL_NODES, message)]

    def histories(self) -> Iterator[wire.Retained]:
        """What each topic retains; frames that have expired may be among it."""
        for topic in self.retained.topics():
            history = self.history(topic, 0)  # time must not change the state here
            assert history is not None
            yield history

    def snapshot(self) -> list[Record]:
        """All of it as records of plain values for restore_snapshot. Frames are not copied."""
        barriers = tuple((name, each.snapshot()) for name, each in self._barriers.items())
        nodes = tuple(
            (
                node,
                node in self._sent_subscriptions,
                self.subscriptions.topics(node),
                node in self._sent_presence,
                self.presence.memberships(node),
                # A tuple, because "none" is not a plain value.
                tuple(self._last_numbers[node] for _ in (1,) if node in self._last_numbers),
            )
            for node in self._nodes
        )
        state = (self.epoch, self._expire_at, nodes, barriers)
        return [state, *self.retained.snapshot()]

    def restore_snapshot(self, records: Iterable[Record]) -> None:
        """Replace a new exchange's state; raises ValueError or TypeError for other records."""
        state, *retained = records
        self.epoch, self._expire_at, nodes, barriers = state
        for node, sent_subscriptions, topics, sent_presence, memberships, last_number in nodes:
            self._nodes[node] = None
            if sent_subscriptions:
                self._sent_subscriptions.add(node)
            for topic in topics:
                self.subscriptions.add(topic, node)
            if sent_presence:
                self._sent_presence.add(node)
            self.presence.replace(node, memberships)
            for number in last_number:
                self._last_numbers[node] = number
        self._barriers = {name: Barrier.from_snapshot(values) for name, values in barriers}
        self.retained.restore_snapshot(retained)


class AgreedState:
    """The state of a generation. ``epoch`` must be new; it marks the offsets of retained topics."""

    def __init__(self, epoch: str, members: Iterable[str] = ()) -> None:
        self.exchange = AgreedExchange(epoch)
        self.membership = Membership(members)
        self.ignored: Counter[str] = Counter()

    def apply(self, entry: LogEntry) -> tuple[Outgoing, tuple[Event, ...]]:
        """Apply the next entry of the log; returns the answers, and the events of the entry."""
        machine = machine_of_member(entry.member)
        now = log_time(entry.id)
        if entry.kind == JOINED:
            self.membership.join(entry.member)
            return [], ()
        if entry.kind == LEFT:
            self.membership.leave(entry.member)
            gone = [node for node in self.exchange.nodes if machine_of(node) == machine]
            return [each for node in gone for each in self.exchange.leave(node, entry.ended)], ()
        try:
            ready, events = decode_log_payload(entry.data, machine)
        except WireError:
            self.ignored["malformed"] += 1
            return [], ()
        if ready:
            self.membership.set_ready(entry.member)
        if not self.membership.is_ready(entry.member):
            self.ignored["not_ready"] += 1
            return [], ()
        return [each for event in events for each in self._apply_event(*event, now)], events

    def _apply_event(self, node: str, message: wire.Message, now: int) -> Outgoing:
        if isinstance(message, wire.Left):
            return self.exchange.leave(node, message.ended)
        if node == GATEWAY and isinstance(message, wire.Restore):
            return self.exchange.restore(message, now)
        return self.exchange.receive(node, message, now)

    def snapshot(self) -> list[Record]:
        """All of it, for ``restored``. It does not change with the state."""
        return [self.membership.snapshot(), *self.exchange.snapshot()]

    @classmethod
    def restored(cls, records: list[Record]) -> "AgreedState":
        """The state with this snapshot; raises WireError for other records."""
        state = cls("")
        try:
            members, *exchange = records
            state.membership.restore_snapshot(members)
            state.exchange.restore_snapshot(exchange)
        except (ValueError, TypeError, AttributeError) as error:
            raise WireError(f"not a snapshot: {error}") from error
        return state

    def digest(self) -> str:
        """A hash of the state: equal for equal states."""
        hash = hashlib.blake2b(digest_size=16)
        for record in self.snapshot():
            hash.update(encode_value(record))
        return hash.hexdigest()
