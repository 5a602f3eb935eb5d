"""Records: the sessions of the sockets of all nodes, as a node knows them.

Each node publishes the records of its sockets to the others, so that a client can come back after
its node was killed. The records of a node that gives no sign of life any more expire as those of
clients that are disconnected.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cluster.core.exceptions import WireError
from cluster.core.socketio.membership import Membership
from cluster.socketio.recovery.options import HEARTBEAT_S

MAX_RECORDS = 100_000
"""Records of a node. Above that it forgets the oldest."""

MAX_NODES = 10_000
"""Nodes whose last sign of life is remembered."""


class Record(NamedTuple):
    """A session.

    Attributes:
        pid: Its private id, which only the client knows.
        namespace: The namespace.
        sid: The id of the socket.
        owner: The token of the process that has the socket, or had it.
        version: How often the session has moved to another socket.
        change: The number of the change; later records of an owner have higher ones.
        user: The key of the user; None for a guest.
        epoch: The epoch of the offsets.
        membership: The rooms, as of ``Membership.as_json``.
        data: ``socket.data`` as JSON text.
        has_ended: Whether the client is disconnected.
    """

    pid: str
    namespace: str
    sid: str
    owner: str
    version: int
    change: int
    user: str | None
    epoch: str
    membership: Any
    data: str
    has_ended: bool

    @property
    def age(self) -> tuple[int, str, int]:
        """Of two records of a session, the one with the higher value counts."""
        return self.version, self.owner, self.change

    def encode(self) -> bytes:
        """The record as JSON."""
        return json.dumps(self, separators=(",", ":")).encode()


def decode_record(text: bytes) -> Record:
    """The record of ``encode``.

    Raises:
        WireError: It is none.
    """
    try:
        record = Record(*json.loads(text))
        Membership.from_json(record.sid, record.membership)
    except (TypeError, ValueError) as error:
        raise WireError(f"no record of a session: {error}") from None
    return record


class Records:
    """The records that a node knows.

    Args:
        seconds: How long a client may be disconnected.
        now: Returns the time in seconds.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._records: dict[str, Record] = {}
        self._ended: dict[str, float] = {}
        self._seen: dict[str, float] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._records)

    def seen(self, owner: str) -> None:
        """A node gives a sign of life."""
        self._seen.pop(owner, None)
        self._seen[owner] = self._now()
        if len(self._seen) > MAX_NODES:
            del self._seen[next(iter(self._seen))]

    def is_silent(self, owner: str) -> bool:
        """Whether a node has given no sign of life for two heartbeats."""
        return self._now() > self._seen.get(owner, 0.0) + 2 * HEARTBEAT_S

    def store(self, record: Record) -> bool:
        """Keep a record, unless a newer one of the session is known.

        Returns:
            Whether another was forgotten, because there are too many.
        """
        pid = record.pid
        known = self._records.get(pid)
        if known is not None and known.age > record.age:
            return False
        if record.owner not in self._seen:
            self.seen(record.owner)
        self._records[pid] = record
        if not record.has_ended:
            self._ended.pop(pid, None)
        elif known is None or not known.has_ended or known.owner != record.owner:
            self._ended[pid] = self._now()
        if len(self._records) <= MAX_RECORDS:
            return False
        self.forget(next(iter(self._records)))
        return True

    def get(self, pid: str) -> Record | None:
        """The record of a session; None if it has expired."""
        record = self._records.get(pid)
        return None if record is None or self._has_expired(record) else record

    def forget(self, pid: str) -> None:
        """The session cannot be continued."""
        self._records.pop(pid, None)
        self._ended.pop(pid, None)

    def pids(self) -> tuple[str, ...]:
        """The private ids of all sessions."""
        return tuple(self._records)

    def expire(self, pids: Iterable[str]) -> None:
        """Forget those of these sessions that have expired."""
        for pid in pids:
            record = self._records.get(pid)
            if record is not None and self._has_expired(record):
                self.forget(pid)

    def _has_expired(self, record: Record) -> bool:
        now = self._now()
        ended = self._ended.get(record.pid)
        if ended is not None:
            return now >= ended + self._seconds
        return now >= self._seen.get(record.owner, 0.0) + HEARTBEAT_S + self._seconds
