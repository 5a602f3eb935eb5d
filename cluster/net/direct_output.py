"""Past Twisted's buffers: straight to the kernel where nothing is waiting.

``transport.write`` asks the reactor to watch the socket, sends in the next iteration, and asks it
to stop again. For a small message to each of thousands of clients that is most of the work.
"""

from typing import Any

from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper


def transport_bytes(transport: Any) -> int:
    """Bytes in a plain TCP transport's own buffers (Twisted offers no public way to ask)."""
    buffered: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return buffered


def unsent_bytes(transport: Any) -> int:
    """Bytes that wait for the kernel, under TLS too; 0 for a transport that does not tell."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport_bytes(transport) if isinstance(transport, Connection) else 0


def write_directly(transport: Any, output: bytes) -> None:
    """Write now if this is a plain TCP transport that has nothing waiting; else as always.

    What the kernel does not take is left to the transport, which tells its producer when that is
    too much.
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
        except OSError:  # it is full, or lost: the transport finds out
            taken = 0
        if taken == len(output):
            return
        output = output[taken:]
    transport.write(output)
