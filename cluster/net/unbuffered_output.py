"""Writes directly to the kernel while Twisted's buffers are empty.

``transport.write`` asks the reactor to watch the socket, sends in the next turn, and asks the
reactor to stop watching. For a small message to each of thousands of clients, that is most of the
work.
"""

from typing import Any

from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper


def transport_bytes(transport: Any) -> int:
    """The number of bytes in the buffers of a plain TCP transport."""
    # Twisted has no public name for this.
    buffered: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return buffered


def unsent_bytes(transport: Any) -> int:
    """The number of bytes that are not in the kernel yet, also under TLS; 0 for other
    transports."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport_bytes(transport) if isinstance(transport, Connection) else 0


def write_directly(transport: Any, output: bytes) -> None:
    """Send at once if this is a plain TCP transport with empty buffers, else write as usual.

    The transport buffers the bytes that the kernel does not accept, and pauses its producer when
    there are too many.
    """
    if (
        isinstance(transport, Connection)
        and not getattr(transport, "TLS", False)
        and transport.connected
        and not transport.disconnecting
        and not transport_bytes(transport)
    ):
        try:
            taken = transport.socket.send(output)
        except OSError:  # full or lost; the transport's own write handles both
            taken = 0
        if taken == len(output):
            return
        output = output[taken:]
    transport.write(output)
