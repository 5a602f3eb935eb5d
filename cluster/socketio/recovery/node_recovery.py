"""NodeRecovery: the sessions of the sockets of this node, and how other nodes take them over.

A node publishes the record of a session to all others whenever it changes. A client that comes back
to another node brings its private id. That node asks the process which had the socket for the
record; if it is not there any more, the node uses the record that it has received.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from json import loads
from typing import Any

from twisted.logger import Logger

from cluster.core.socketio.membership import Membership
from cluster.django.api import in_force
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import process_topic, server_topic
from cluster.socketio.bus.emits import Emit
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.recovery.continuation import continued
from cluster.socketio.recovery.event_log import EventLog, LogEntry, Missed, parse_offset
from cluster.socketio.recovery.link import Link
from cluster.socketio.recovery.options import AT_ONCE, RecoveryOptions
from cluster.socketio.recovery.other_nodes import OtherNodes
from cluster.socketio.recovery.published_records import PublishedRecords
from cluster.socketio.recovery.records import Record, Records, decode_record
from cluster.socketio.recovery.session import ON_NODE, NewSocket, RecoveringSocket, Session, new_pid

_log = Logger()

ASK_TIMEOUT_S = 1.0
"""Seconds for the answer of the process that had the socket. One that was killed does not answer
until the broker has noticed its death."""


class NodeRecovery:
    """The recovery of a server on a node.

    Args:
        link: The server on the node.
        options: Its options.
    """

    def __init__(self, link: Link, options: RecoveryOptions) -> None:
        self._link = link
        self.options = options
        self.live: dict[str, dict[str, RecoveringSocket]] = {each: {} for each in link.local}
        """The sockets of each namespace on this node, by the private ids of their sessions.

        A connected socket that is not here is not continued."""
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
        self._published = PublishedRecords(link, self.logs)
        self.changed = self._published.changed
        self._others = OtherNodes(link, self.records, self._published, self.live)

    def stop(self) -> None:
        """This is not the node of the process any more."""
        self._others.stop()
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
        if record.pid in self.live[namespace]:
            return True  # the client came back twice, and the other socket was faster
        session = continued(record, log, position, self._link.token)
        if session is not None:
            socket.recovery_session = session
            self.live[namespace][record.pid] = socket
            self.records.forget(record.pid)
            socket.recover(record.sid, loads(record.data))
        return True

    def added(self, socket: RecoveringSocket) -> None:
        """The socket is in its namespace from now on. Without a session, one begins."""
        session = socket.recovery_session
        if session is None:
            epoch, newest = self.logs[socket.namespace.path].position()
            membership = Membership(socket.id, newest)
            membership.join(ON_NODE + self._link.token, newest)
            session = Session(new_pid(), membership, 0, Missed(epoch, (), newest))
            socket.recovery_session = session
            self.live[socket.namespace.path][session.pid] = socket
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

    def ended(self, socket: RecoveringSocket, can_recover: bool) -> None:
        """The socket is not connected any more.

        Args:
            socket: The socket.
            can_recover: Whether its client may come back.
        """
        self._published.drop_changes(socket)
        session = socket.recovery_session
        if session is None:
            return
        self._newest(socket)  # after which the session has the offsets of the present epoch
        socket.recovery_session = None
        live = self.live[socket.namespace.path]
        if live.get(session.pid) is socket:
            del live[session.pid]
        if can_recover:
            record = self._published.record(socket, session, has_ended=True)
            self._store(record)
            self._published.publish(envelopes.RECORD, (record.encode(),))
        else:
            self.records.forget(session.pid)
            if session.change or session.version:
                self._published.publish(envelopes.FORGET, (session.pid.encode(),))

    def _store(self, record: Record) -> None:
        if self.records.store(record):
            self._link.count("socketio_sessions", "too many clients may come back")

    # Sessions that move to another node.

    async def _find(self, pid: str, namespace: str) -> Record | None:
        """The record of a session, whose socket is ended if it is still connected."""
        link = self._link
        socket = self.live[namespace].get(pid)
        if socket is not None:
            record = self._hand_over(socket)
        else:
            await in_force.wait(self._published.in_force())
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
            socket = self.live.get(envelope.namespace, {}).get(pid)
            record = self.records.get(pid) if socket is None else self._hand_over(socket)
            self._link.answer(envelope, None if record is None else record.encode().decode())
        elif envelope.flags & envelopes.ANSWERS:
            self._link.run(self._others.send_records(envelope.sender))
        return True

    def _record_received(self, record: Record) -> None:
        live = self.live.get(record.namespace, {})
        socket = live.get(record.pid)
        session = None if socket is None else socket.recovery_session
        if socket is None or session is None:
            self._store(record)
        elif (record.version, record.owner) > (session.version, self._link.token):
            # The client came back twice: the other node has its newest connection.
            socket.recovery_session = None
            del live[record.pid]
            self._store(record)
            socket.close_client()

    # The log.

    def _lost(self, namespace: str) -> None:
        """Events are lost: no session of this node can be continued without a gap."""
        lost, self.live[namespace] = self.live[namespace], {}
        self._link.count(
            "socketio_log_gap", f"events of {namespace!r} are lost: clients are closed"
        )
        # All at once: until the other nodes know it, they could continue what is forgotten here.
        for pid, socket in lost.items():
            self._published.drop_changes(socket)
            socket.recovery_session = None
            self.records.forget(pid)
        pids = [pid.encode() for pid in lost]
        for first in range(0, len(pids), AT_ONCE):
            self._published.publish(envelopes.FORGET, pids[first : first + AT_ONCE])
        self._link.run(self._close_all(tuple(lost.values())))

    async def _close_all(self, sockets: Iterable[RecoveringSocket]) -> None:
        for count, socket in enumerate(sockets, 1):
            try:
                socket.close_client()
            except Exception:
                _log.failure("closing a Socket.IO client whose events are lost")
            if count % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _renumbered(self, namespace: str, last: int, newest: int) -> None:
        """Another process numbers the events; ``last`` is the last offset that is still valid."""
        for socket in self.live[namespace].values():
            if socket.recovery_session is not None:
                socket.recovery_session.membership.renumbered(last, newest)
                self.changed(socket)
