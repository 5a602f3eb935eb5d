"""What one process sends to another with a connection.

For each connection the sender opens one connection to the Unix socket, and sends::

    version of this format, 2 bytes | size of the JSON, 2 bytes | size of the input, 4 bytes
    JSON: {"peer": …, "server": …, "secure": …, "passed": …}
    input: what the client has sent

All numbers are in network byte order. If ``passed`` is true, the descriptor of the client's
connection comes with the first byte (unix(7), SCM_RIGHTS), and the sender closes after the input.
Otherwise the Unix connection replaces the client's from the end of the JSON on: it continues with
the input, whose size is 0 in the message, and the answers go back the same way.
"""

import json
import struct
from typing import Any, NamedTuple

from cluster.core.exceptions import WireError

VERSION = 1
"""Of the format. During a restart with another version of c10k, processes of two versions run."""

_SIZES = struct.Struct("!HHI")

MAX_INPUT = 128 << 10
"""Bytes of input that travel with a descriptor. A Unix socket takes them at once."""


class Origin(NamedTuple):
    """Where a connection comes from.

    Attributes:
        peer: The address of the client, as accept(2) gives it; None for a Unix socket.
        server: The host and port of this end; None if the descriptor tells it.
        is_secure: Whether the client uses TLS.
    """

    peer: tuple[Any, ...] | None
    server: tuple[str, int] | None = None
    is_secure: bool = False


class Head(NamedTuple):
    """The beginning of what is sent with a connection.

    Attributes:
        origin: Where it comes from.
        is_passed: Whether its descriptor is passed, not its bytes.
        begin: Where the input begins.
        end: Where it ends, if the descriptor is passed.
    """

    origin: Origin
    is_passed: bool
    begin: int
    end: int


def encode(origin: Origin, is_passed: bool, size: int = 0) -> bytes:
    """The bytes before the input.

    Args:
        origin: Where the connection comes from.
        is_passed: Whether its descriptor is passed.
        size: Bytes of input that come with the descriptor.
    """
    text = json.dumps(
        {
            "peer": origin.peer,
            "server": origin.server,
            "secure": origin.is_secure,
            "passed": is_passed,
        }
    ).encode()
    return _SIZES.pack(VERSION, len(text), size) + text


def decode(data: bytes | bytearray) -> Head | None:
    """Read the beginning; None if it is incomplete.

    Raises:
        WireError: This is not the beginning of a connection, or of another version.
    """
    if len(data) < _SIZES.size:
        return None
    version, length, size = _SIZES.unpack_from(data)
    if version != VERSION or size > MAX_INPUT:
        raise WireError(f"a connection in version {version} of the format, with {size} bytes")
    begin = _SIZES.size + length
    if len(data) < begin:
        return None
    try:
        fields = json.loads(data[_SIZES.size : begin])
        peer, server = fields["peer"], fields["server"]
        origin = Origin(
            None if peer is None else tuple(peer),
            None if server is None else (str(server[0]), int(server[1])),
            bool(fields["secure"]),
        )
        if origin.peer is not None and len(origin.peer) not in (2, 4):
            raise ValueError("an address has 2 or 4 parts")
        return Head(origin, bool(fields["passed"]), begin, begin + size)
    except (ValueError, LookupError, TypeError) as error:
        raise WireError(f"not the beginning of a connection: {error}") from None
