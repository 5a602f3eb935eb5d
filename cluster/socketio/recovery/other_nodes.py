"""OtherNodes: signs of life of this node and of others, and records for nodes that begin.

A node that begins asks the others for the records that they have published before. Each sends those
of its own sockets, and those of nodes that are gone.
"""

import asyncio
from collections.abc import Mapping

from cluster.django.api import in_force
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import process_topic
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.recovery.link import Link
from cluster.socketio.recovery.options import AT_ONCE, HEARTBEAT_S
from cluster.socketio.recovery.published_records import PublishedRecords
from cluster.socketio.recovery.records import Records
from cluster.socketio.recovery.session import RecoveringSocket

LOOKED_AT = 1000
"""Records that are looked at in a turn of the event loop: less than a millisecond."""


class OtherNodes:
    """The other nodes of a server.

    Args:
        link: The server on this node.
        records: The records that it knows.
        published: Publishes those of its sockets.
        live: Its sockets by the private ids of their sessions, for each namespace.
    """

    def __init__(
        self,
        link: Link,
        records: Records,
        published: PublishedRecords,
        live: Mapping[str, Mapping[str, RecoveringSocket]],
    ) -> None:
        self._link = link
        self._records = records
        self._published = published
        self._live = live
        self._timer = link.loop.call_later(HEARTBEAT_S, self._beat)
        link.run(self._ask_for_records())

    def stop(self) -> None:
        """This is not the node of the process any more."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._timer = self._link.loop.call_later(HEARTBEAT_S, self._beat)
        self._records.seen(self._link.token)
        self._published.publish(envelopes.ALIVE, ())
        self._link.run(self._expire())

    async def _expire(self) -> None:
        pids = self._records.pids()
        for first in range(0, len(pids), LOOKED_AT):
            self._records.expire(pids[first : first + LOOKED_AT])
            await asyncio.sleep(0)

    async def _ask_for_records(self) -> None:
        """Ask the other nodes for the records that they have published before this one began."""
        await in_force.wait(self._published.in_force())
        self._published.publish(envelopes.ALIVE, (), envelopes.ANSWERS)

    async def send_records(self, token: str) -> None:
        """Send another node the records of this one, and those of processes that are gone."""
        link, records = self._link, self._records
        topic = process_topic(link.name, token)
        is_sent = {link.token: True}
        pids = records.pids()
        for first in range(0, len(pids), AT_ONCE):
            parts = []
            for pid in pids[first : first + AT_ONCE]:
                record = records.get(pid)
                if record is None:
                    continue
                owner = record.owner
                if owner not in is_sent:
                    is_sent[owner] = self._is_gone(owner)
                if is_sent[owner]:
                    parts.append(record.encode())
            await self._send(topic, parts)
        sockets = [socket for space in self._live.values() for socket in space.values()]
        for first in range(0, len(sockets), AT_ONCE):
            parts = []
            for socket in sockets[first : first + AT_ONCE]:
                if socket.recovery_session is not None:
                    record = self._published.record(socket, socket.recovery_session)
                    parts.append(record.encode())
            await self._send(topic, parts)

    def _is_gone(self, owner: str) -> bool:
        if self._records.is_silent(owner):
            return True
        topic = process_topic(self._link.name, owner)
        return self._link.request(topic, Envelope(envelopes.ALIVE, "")) == 0

    async def _send(self, topic: bytes, records: list[bytes]) -> None:
        """Send records, and let the event loop have its turn."""
        if records:
            self._link.request(topic, Envelope(envelopes.RECORD, "", parts=records))
        await asyncio.sleep(0)
