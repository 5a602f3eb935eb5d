"""Session: what a socket needs so that its client can come back."""

import secrets
from typing import Any, Protocol

from cluster.core.socketio.membership import Membership
from cluster.socketio.interfaces import LocalSocket
from cluster.socketio.recovery.event_log import Missed

ON_NODE = "\0"
"""With a token, the room of the sockets of a process, for events of its sockets alone."""

MAX_PID = 40
"""Characters of a private id that a client sends."""


class Session:
    """The session of a socket.

    Attributes:
        pid: Its private id.
        membership: The rooms of the socket.
        version: How often it has moved to another socket.
        change: The number of the last record.
        data: ``socket.data`` as JSON text, in the last record.
        missed: What the client receives first.
    """

    __slots__ = ("change", "data", "membership", "missed", "pid", "version")

    def __init__(self, pid: str, membership: Membership, version: int, missed: Missed) -> None:
        self.pid = pid
        self.membership = membership
        self.version = version
        self.change = 0
        self.data = "{}"
        self.missed: Missed | None = missed


class RecoveringSocket(LocalSocket, Protocol):
    """A socket of this node, of a server with recovery."""

    namespace: Any
    recovered: bool
    recovery_session: Session | None
    receiver: Any

    @property
    def user_key(self) -> str | None:
        """The key of the user; None for a guest."""

    def data_text(self) -> str:
        """Its data as JSON text; that of an empty dict if it is not JSON."""

    def close_client(self) -> None:
        """Close the client, which can come back."""


class NewSocket(RecoveringSocket, Protocol):
    """A socket that may continue one that was disconnected."""

    def recover(self, id: str, data: dict[str, Any]) -> None:
        """Continue the socket with this id."""

    def go_live(self) -> None:
        """The client receives events of the log as they arrive, from now on."""


def new_pid() -> str:
    """A private id: 120 random bits."""
    return secrets.token_urlsafe(15)


def taken_from(auth: Any) -> tuple[Any, str | None, Any]:
    """What the application receives as ``auth``, the private id, and the offset.

    Clients add the id and the offset to the data that the application sends."""
    if not isinstance(auth, dict) or "pid" not in auth:
        return auth, None, None
    auth = dict(auth)
    pid, offset = auth.pop("pid"), auth.pop("offset", None)
    if not isinstance(pid, str) or not 0 < len(pid) <= MAX_PID or not pid.isascii():
        pid = None
    return auth or None, pid, offset
