"""The ids of sockets, and the topics by which the nodes reach each other's sockets.

::

    c10k/sio/NAME                     every node: what its server receives
    c10k/sio/NAME NAMESPACE           the nodes with sockets in the namespace, "/admin"
    c10k/sio/NAME NAMESPACE # ROOM    the nodes with sockets in the room
    c10k/sio/NAME @ TOKEN             the process with this token
    c10k/sio/NAME NAMESPACE ? log     the events of the namespace, with recovery

(written without the spaces). NAME is the name of the server, which tells it from other servers of
the site. The id of a socket begins with the token of its process, so that what is for one socket
goes to one process.
"""

import re
import secrets
from collections.abc import Sequence

PREFIX = "c10k/sio/"

TOKEN_LENGTH = 6

ID_MARK = "-_"
"""What follows the token in the id of a socket, so that an id is not taken for a room's name."""

_ID = re.compile(r"[A-Za-z0-9_-]{6}-_[A-Za-z0-9_-]{12}")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_NAMESPACE = re.compile(r"/[^,?#@\s]*")

MAX_ROOM = 1000
"""Characters of the longest name of a room."""


def new_token() -> str:
    """A token for this process: 36 random bits."""
    return secrets.token_urlsafe(6)[:TOKEN_LENGTH]


def new_socket_id(token: str) -> str:
    """An id for a socket of the process with this token; it cannot be guessed."""
    return token + ID_MARK + secrets.token_urlsafe(9)


def is_socket_id(name: str) -> bool:
    """Whether this is the id of a socket, and not the name of a room."""
    return name[TOKEN_LENGTH : TOKEN_LENGTH + 2] == ID_MARK and _ID.fullmatch(name) is not None


def token_of(socket_id: str) -> str:
    """The token of the process that has a socket."""
    return socket_id[:TOKEN_LENGTH]


def checked_name(name: str) -> str:
    """The name of a server.

    Raises:
        ValueError: It is not of letters, digits, ".", "-" and "_".
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"the name of a Socket.IO server is letters, digits, '.', '-' and '_', not {name!r}"
        )
    return name


def checked_namespace(namespace: str) -> str:
    """A namespace.

    Raises:
        ValueError: It does not begin with "/", or has a character that separates.
    """
    if not isinstance(namespace, str) or _NAMESPACE.fullmatch(namespace) is None:
        raise ValueError(
            f"a namespace of Socket.IO begins with '/' and has no ',', '?', '#', '@' or space, not"
            f" {namespace!r}"
        )
    return namespace


def checked_room(room: str) -> str:
    """The name of a room, or the id of a socket.

    Raises:
        TypeError: It is not text.
        ValueError: It is empty or too long.
    """
    if not isinstance(room, str):
        raise TypeError(f"a room is str, not {type(room).__name__}")
    if not 0 < len(room) <= MAX_ROOM:
        raise ValueError(f"the name of a room has 1 to {MAX_ROOM:,} characters, not {len(room):,}")
    return room


def checked_rooms(rooms: str | Sequence[str]) -> tuple[str, ...]:
    """The names of one room or of several."""
    if isinstance(rooms, str):
        return (checked_room(rooms),)
    return tuple(map(checked_room, rooms))


def server_topic(name: str) -> bytes:
    """The topic of every node."""
    return f"{PREFIX}{name}".encode()


def process_topic(name: str, token: str) -> bytes:
    """The topic of one process."""
    return f"{PREFIX}{name}@{token}".encode()


def namespace_topic(name: str, namespace: str) -> bytes:
    """The topic of the nodes with sockets in a namespace."""
    return f"{PREFIX}{name}{namespace}".encode()


def room_topic(name: str, namespace: str, room: str) -> bytes:
    """The topic of the nodes with sockets in a room."""
    return f"{PREFIX}{name}{namespace}#{room}".encode()


def log_topic(name: str, namespace: str) -> bytes:
    """The topic of the events of a namespace, of a server with recovery."""
    return f"{PREFIX}{name}{namespace}?log".encode()


def topic_for(name: str, namespace: str, rooms: Sequence[str], by_token: bool) -> bytes:
    """The topic that reaches all nodes with sockets in any of these rooms; all without rooms.

    ``by_token``: a socket is on the node that its id names. With recovery it may be on another."""
    if len(rooms) != 1:
        return namespace_topic(name, namespace)
    (room,) = rooms
    if is_socket_id(room):
        if not by_token:
            return namespace_topic(name, namespace)
        return process_topic(name, token_of(room))
    return room_topic(name, namespace, room)
