"""NodeRecovery: the sessions of the sockets of this node, and how other nodes take them over.

A node publishes the record of a session to all others when the socket connects, enters or leaves
rooms, and when its data changes: at the end of the turn, once for all changes of a turn. A client
that comes back to another node brings its private id. That node asks the process which had the
socket for the record; if it is not there any more, the node uses the record that it has received.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from json import loads
from typing import Any, Protocol

from cluster.core.interfaces import PubSub
from cluster.core.socketio.membership import Membership
from cluster.django.api import in_force
from cluster.django.api.in_force import InForce
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import process_topic, server_topic
from cluster.socketio.bus.emits import Emit
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.recovery.event_log import EventLog, LogEntry, Missed, parse_offset
from cluster.socketio.recovery.options import HEARTBEAT_S, RecoveryOptions
from cluster.socketio.recovery.records import Record, Records, decode_record
from cluster.socketio.recovery.session import ON_NODE, NewSocket, RecoveringSocket, Session, new_pid
from cluster.socketio.sockets.local_sockets import LocalSockets

ASK_TIMEOUT_S = 1.0
"""Seconds for the answer of the process that had the socket. One that was killed does not answer
until the broker has noticed its death."""

AT_ONCE = 200
"""Records that are published in a turn of the event loop, and clients that are closed."""


class Link(Protocol):
    """The server on this node, for its recovery."""

    name: str
    token: str
    loop: asyncio.AbstractEventLoop

    @property
    def local(self) -> Mapping[str, LocalSockets]: ...

    @property
    def pubsub(self) -> PubSub: ...

    def request(self, topic: bytes, envelope: Envelope) -> int:
        """Send an envelope of this process."""

    async def ask(self, topic: bytes, envelope: Envelope, timeout: float) -> tuple[list[Any], bool]:
        """Ask other nodes; returns their answers, and whether they are all."""

    def answer(self, question: Envelope, value: Any) -> None:
        """Answer a question, with one value."""

    def run(self, coroutine: Any) -> None:
        """Run a coroutine in a task."""

    def count(self, reason: str, why: str) -> None:
        """Count what is refused or dropped."""


class NodeRecovery:
    """The recovery of a server on a node.

    Args:
        link: The server on the node.
        options: Its options.
    """

    def __init__(self, link: Link, options: RecoveryOptions) -> None:
        self._link = link
        self.options = options
        self.live: dict[str, RecoveringSocket] = {}
        """The sockets of this node by the private ids of their sessions."""
        self.records = Records(options.seconds, link.loop.time)
        self.logs = {
            namespace: EventLog(
                link.name,
                namespace,
                link.pubsub,
                options,
                partial(self._deliver, namespace),
                partial(self._lost, namespace),
                partial(self._renumbered, namespace),
                link.count,
            )
            for namespace in link.local
        }
        self._topic = server_topic(link.name)
        self._in_force = InForce(link.pubsub.barriers, f"c10k/sio/{link.token}/recovery/")
        self._dirty: dict[RecoveringSocket, bool] = {}
        self._saved: asyncio.Future[None] | None = None
        self._timer = link.loop.call_later(HEARTBEAT_S, self._beat)
        link.run(self._ask_for_records())

    def stop(self) -> None:
        """This is not the node of the process any more."""
        self._timer.cancel()
        for log in self.logs.values():
            log.stop()

    # Events.

    def emit(self, emit: Emit, is_local: bool) -> tuple[int, int]:
        """Append an event to the log; returns (nodes, sockets of this node).

        Raises:
            NotPublished: Too much waits for the exchange.
        """
        nodes = self.logs[emit.namespace].publish(emit, self._link.token if is_local else "")
        return nodes, len(self._link.local[emit.namespace].select(emit.rooms, emit.skipped))

    def _deliver(self, namespace: str, entry: LogEntry, offset: int) -> None:
        if not entry.node or entry.node == self._link.token:
            self._link.local[namespace].deliver(entry.packet, entry.rooms, entry.skipped)

    # Sockets.

    async def find(self, socket: NewSocket, pid: str | None, offset: Any) -> bool:
        """Continue the session that a client names, if nothing is missing.

        Args:
            socket: A new socket. Its attribute ``recovered`` says afterwards whether it continues.
            pid: The private id that the client sent; None without one.
            offset: The offset that it sent.

        Returns:
            False if the log is out of reach, so that the client must be closed.
        """
        namespace = socket.namespace.path
        log = self.logs[namespace]
        if not await log.ready():
            return False
        record = None if pid is None else await self._find(pid, namespace)
        if record is None or record.user != socket.user_key:
            return True
        position = parse_offset(offset)
        if position is not None:
            await log.received(position)
        elif offset is not None:
            return True
        if record.pid in self.live:
            return True  # the client came back twice, and the other socket was faster
        self._continue(socket, log, record, position)
        return True

    def _continue(
        self,
        socket: NewSocket,
        log: EventLog,
        record: Record,
        position: tuple[str, int] | None,
    ) -> None:
        epoch, newest = log.position()
        membership = Membership.from_json(record.sid, record.membership)
        if record.epoch != epoch:
            last = log.last_offset_of(record.epoch)
            if last is None:
                return
            membership.renumbered(last, newest)
        if position is None:  # the client has received no event
            position = epoch, membership.start
        last = log.last_offset_of(position[0])
        if last is None or position[1] > last:
            return
        after = membership.resume_after(position[1])
        if after is None:
            return
        missed = log.since(position if after == position[1] else (epoch, after))
        if missed is None:
            return
        for room in tuple(membership.joined):
            if room.startswith(ON_NODE):
                membership.leave(room, newest)
        membership.join(ON_NODE + self._link.token, newest)
        socket.recovery_session = Session(record.pid, membership, record.version + 1, missed)
        socket.recovery_session.data = record.data
        self.live[record.pid] = socket
        self.records.forget(record.pid)
        socket.recover(record.sid, loads(record.data))

    def added(self, socket: RecoveringSocket) -> None:
        """The socket is in its namespace from now on. Without a session, one begins."""
        session = socket.recovery_session
        if session is None:
            epoch, newest = self.logs[socket.namespace.path].position()
            membership = Membership(socket.id, newest)
            membership.join(ON_NODE + self._link.token, newest)
            session = Session(new_pid(), membership, 0, Missed(epoch, (), newest))
            socket.recovery_session = session
            self.live[session.pid] = socket
        self.changed(socket)

    def entered(self, socket: RecoveringSocket, room: str) -> "asyncio.Future[None] | None":
        """The socket enters a room; returns what to wait for until all nodes know it."""
        if socket.recovery_session is None:
            return None
        socket.recovery_session.membership.join(room, self._newest(socket))
        return self.changed(socket)

    def left(self, socket: RecoveringSocket, room: str) -> None:
        """The socket leaves a room."""
        if socket.recovery_session is not None:
            socket.recovery_session.membership.leave(room, self._newest(socket))
            self.changed(socket)

    def _newest(self, socket: RecoveringSocket) -> int:
        return self.logs[socket.namespace.path].position()[1]

    def changed(
        self, socket: RecoveringSocket, only_if_data: bool = False
    ) -> "asyncio.Future[None]":
        """Publish the record of the socket's session at the end of the turn.

        Args:
            socket: The socket.
            only_if_data: Whether to publish only if its data has changed.

        Returns:
            A future: all nodes have the record. Others wait for it, too.
        """
        saved = self._saved
        if saved is None:
            saved = self._saved = self._link.loop.create_future()
            self._link.loop.call_soon(self._publish_dirty)
        self._dirty[socket] = self._dirty.get(socket, False) or not only_if_data
        return saved

    def ended(self, socket: RecoveringSocket, can_recover: bool) -> None:
        """The socket is not connected any more.

        Args:
            socket: The socket.
            can_recover: Whether its client may come back.
        """
        self._dirty.pop(socket, None)
        session = socket.recovery_session
        if session is None:
            return
        self._newest(socket)  # after which the session has the offsets of the present epoch
        socket.recovery_session = None
        if self.live.get(session.pid) is socket:
            del self.live[session.pid]
        if can_recover:
            record = self._record(socket, session, has_ended=True)
            self._store(record)
            self._publish(envelopes.RECORD, (record.encode(),))
        else:
            self.records.forget(session.pid)
            if session.change or session.version:
                self._publish(envelopes.FORGET, (session.pid.encode(),))

    # Records.

    def _record(
        self, socket: RecoveringSocket, session: Session, has_ended: bool = False
    ) -> Record:
        namespace = socket.namespace.path
        epoch, _ = self.logs[namespace].position()
        session.change += 1
        session.data = socket.data_text()
        return Record(
            session.pid, namespace, socket.id, self._link.token, session.version, session.change,
            socket.user_key, epoch, session.membership.as_json(), session.data, has_ended,
        )  # fmt: skip

    def _publish_dirty(self) -> None:
        dirty, self._dirty = self._dirty, {}
        records = []
        for count, (socket, must) in enumerate(dirty.items()):
            if count == AT_ONCE:
                self._dirty = dict(list(dirty.items())[count:]) | self._dirty
                break
            session = socket.recovery_session
            if session is not None and (must or socket.data_text() != session.data):
                records.append(self._record(socket, session).encode())
        if records:
            self._publish(envelopes.RECORD, records)
        if self._dirty:
            self._link.loop.call_soon(self._publish_dirty)
            return
        saved, self._saved = self._saved, None
        if saved is not None:
            self._in_force.ask().add_done_callback(partial(_resolve, saved))

    def _publish(self, kind: int, parts: Iterable[bytes], flags: int = 0) -> None:
        self._link.request(self._topic, Envelope(kind, "", parts=tuple(parts), flags=flags))

    def _store(self, record: Record) -> None:
        if self.records.store(record):
            self._link.count("socketio_sessions", "too many clients may come back")

    async def _find(self, pid: str, namespace: str) -> Record | None:
        """The record of a session, whose socket is ended if it is still connected."""
        link = self._link
        socket = self.live.get(pid)
        if socket is not None:
            record = self._hand_over(socket)
        else:
            await in_force.wait(self._in_force.ask())  # what others have published has arrived
            known = self.records.get(pid)
            record = known
            if known is None or known.owner != link.token:
                topic = self._topic if known is None else process_topic(link.name, known.owner)
                question = Envelope(envelopes.RECOVER, namespace, parts=(pid.encode(),))
                answers, _ = await link.ask(topic, question, ASK_TIMEOUT_S)
                found = [decode_record(text.encode()) for text in answers if text]
                if known is not None and not answers:
                    found.append(known)
                record = max(found, key=lambda each: each.age, default=None)
        return record if record is not None and record.namespace == namespace else None

    def _hand_over(self, socket: RecoveringSocket) -> Record | None:
        """End a socket whose client has come back elsewhere."""
        session = socket.recovery_session
        if session is None:
            return None
        self.ended(socket, True)
        socket.close_client()
        return self.records.get(session.pid)

    # What arrives.

    def receive(self, envelope: Envelope) -> bool:
        """Act upon an envelope of another process; returns False if it is not for this."""
        kind = envelope.kind
        if kind < envelopes.RECORD:
            return False
        self.records.seen(envelope.sender)
        if kind == envelopes.RECORD:
            for part in envelope.parts:
                self._record_received(decode_record(part))
        elif kind == envelopes.FORGET:
            for part in envelope.parts:
                self.records.forget(part.decode())
        elif kind == envelopes.RECOVER:
            pid = envelope.parts[0].decode()
            socket = self.live.get(pid)
            record = self.records.get(pid) if socket is None else self._hand_over(socket)
            self._link.answer(envelope, None if record is None else record.encode().decode())
        elif envelope.flags & envelopes.ANSWERS:
            self._link.run(self._send_records(envelope.sender))
        return True

    def _record_received(self, record: Record) -> None:
        socket = self.live.get(record.pid)
        session = None if socket is None else socket.recovery_session
        if socket is None or session is None:
            self._store(record)
        elif (record.version, record.owner) > (session.version, self._link.token):
            # The client came back twice: the other node has its newest connection.
            socket.recovery_session = None
            del self.live[record.pid]
            self._store(record)
            socket.close_client()

    # Other nodes.

    def _beat(self) -> None:
        self._timer = self._link.loop.call_later(HEARTBEAT_S, self._beat)
        self.records.expire()
        self.records.seen(self._link.token)
        self._publish(envelopes.ALIVE, ())

    async def _ask_for_records(self) -> None:
        """Ask the other nodes for the records that they have published before this one began."""
        await in_force.wait(self._in_force.ask())
        self._publish(envelopes.ALIVE, (), envelopes.ANSWERS)

    async def _send_records(self, token: str) -> None:
        """Send another node the records of this one, and those of processes that are gone."""
        link = self._link
        topic = process_topic(link.name, token)
        for owner in self.records.owners():
            if owner == link.token or self._is_gone(owner):
                await self._send_all(topic, [each.encode() for each in self.records.of(owner)])
        live = []
        for socket in tuple(self.live.values()):
            if socket.recovery_session is not None:
                live.append(self._record(socket, socket.recovery_session).encode())
        await self._send_all(topic, live)

    def _is_gone(self, owner: str) -> bool:
        if self.records.is_silent(owner):
            return True
        topic = process_topic(self._link.name, owner)
        return self._link.request(topic, Envelope(envelopes.ALIVE, "")) == 0

    async def _send_all(self, topic: bytes, records: Sequence[bytes]) -> None:
        for first in range(0, len(records), AT_ONCE):
            parts = records[first : first + AT_ONCE]
            self._link.request(topic, Envelope(envelopes.RECORD, "", parts=parts))
            await asyncio.sleep(0)

    # The log.

    def _lost(self, namespace: str) -> None:
        """Events are lost: no session of this node can be continued without a gap."""
        found = [socket for socket in self.live.values() if socket.namespace.path == namespace]
        self._link.count(
            "socketio_log_gap", f"events of {namespace!r} are lost: clients are closed"
        )
        for socket in found:
            self.ended(socket, False)
        self._link.run(_close(found))

    def _renumbered(self, namespace: str, last: int, newest: int) -> None:
        """Another process numbers the events; ``last`` is the last offset that is still valid."""
        for socket in self.live.values():
            if socket.recovery_session is not None and socket.namespace.path == namespace:
                socket.recovery_session.membership.renumbered(last, newest)
                self.changed(socket)


async def _close(sockets: Iterable[RecoveringSocket]) -> None:
    for count, socket in enumerate(sockets, 1):
        socket.close_client()
        if count % AT_ONCE == 0:
            await asyncio.sleep(0)


def _resolve(saved: "asyncio.Future[None]", asked: "asyncio.Future[None]") -> None:
    if not saved.done():
        saved.set_result(None)
