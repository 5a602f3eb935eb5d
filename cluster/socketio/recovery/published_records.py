"""PublishedRecords: the records of the sockets of this node, which all other nodes receive.

A record is published when its socket connects, enters or leaves rooms, and when its data changes:
at the end of the turn, once for all changes of a turn.
"""

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial

from cluster.django.api.in_force import InForce
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import server_topic
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.recovery.event_log import EventLog
from cluster.socketio.recovery.link import Link
from cluster.socketio.recovery.options import AT_ONCE
from cluster.socketio.recovery.records import Record
from cluster.socketio.recovery.session import RecoveringSocket, Session


class PublishedRecords:
    """Of a server on this node.

    Args:
        link: The server on the node.
        logs: The logs of its namespaces.
    """

    def __init__(self, link: Link, logs: Mapping[str, EventLog]) -> None:
        self._link = link
        self._logs = logs
        self._topic = server_topic(link.name)
        self._in_force = InForce(link.pubsub.barriers, f"c10k/sio/{link.token}/recovery/")
        self._changed: dict[RecoveringSocket, bool] = {}
        self._saved: asyncio.Future[None] | None = None

    def in_force(self) -> "asyncio.Future[None]":
        """A future: what was published until now, on any node, has arrived."""
        return self._in_force.ask()

    def publish(self, kind: int, parts: Iterable[bytes], flags: int = 0) -> None:
        """Send an envelope to all nodes."""
        self._link.request(self._topic, Envelope(kind, "", parts=tuple(parts), flags=flags))

    def record(self, socket: RecoveringSocket, session: Session, has_ended: bool = False) -> Record:
        """The next record of a socket's session."""
        namespace = socket.namespace.path
        epoch, _ = self._logs[namespace].position()
        session.change += 1
        return Record(
            session.pid, namespace, socket.id, self._link.token, session.version, session.change,
            socket.user_key, epoch, session.membership.as_json(), socket.data_text(), has_ended,
        )  # fmt: skip

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
            self._link.loop.call_soon(self._publish_changed)
        self._changed[socket] = self._changed.get(socket, False) or not only_if_data
        return saved

    def drop_changes(self, socket: RecoveringSocket) -> None:
        """Do not publish what has changed of a socket."""
        self._changed.pop(socket, None)

    def _publish_changed(self) -> None:
        changed, self._changed = self._changed, {}
        records = []
        for count, (socket, must) in enumerate(changed.items()):
            if count == AT_ONCE:
                self._changed = dict(list(changed.items())[count:]) | self._changed
                break
            session = socket.recovery_session
            if session is None:
                continue
            data = socket.data_text()
            if must or data != session.data:
                session.data = data  # that all nodes have
                records.append(self.record(socket, session).encode())
        if records:
            self.publish(envelopes.RECORD, records)
        if self._changed:
            self._link.loop.call_soon(self._publish_changed)
            return
        saved, self._saved = self._saved, None
        if saved is not None:
            self._in_force.ask().add_done_callback(partial(_resolve, saved))


def _resolve(saved: "asyncio.Future[None]", asked: "asyncio.Future[None]") -> None:
    if not saved.done():
        saved.set_result(None)
