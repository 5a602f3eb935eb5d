"""Keeps new connections away from a listening socket that is about to be closed.

The kernel resets the connections in the queue of a socket that is closed, and assigns new ones to
it as long as it is open, even if other sockets share its port. So a socket filter, which needs no
privileges (socket(7), SO_ATTACH_FILTER), drops the first packet of each new connection (SYN, RFC
9293 section 3.5). Connections whose handshake has begun are completed, and the queue
becomes empty. Then the socket can be closed: the client repeats its first packet after a second
(RFC 6298 section 2), and the kernel chooses one of the other sockets.

Accepted connections inherit the filter, which does not concern them.
"""

import array
import socket
import struct
from contextlib import suppress

_ATTACH_FILTER, _DETACH_FILTER = 26, 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER, which Python's socket module does not have."""

_SYN, _ACK = 0x02, 0x10
_FLAGS = 13
"""Where a TCP header has its flags (RFC 9293 section 3.1)."""

# Instructions of the classic BPF (linux/filter.h): code, jump if true, jump if false, operand.
_PROGRAM = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS),  # load a byte
        (0x54, 0, 0, _SYN | _ACK),  # and
        (0x15, 0, 1, _SYN),  # jump if equal
        (0x06, 0, 0, 0),  # return: drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # return: keep all of it
    )
)

_QUEUED = struct.Struct("24xI")
"""``tcpi_unacked`` of ``struct tcp_info``, which is the length of a listening socket's queue."""


def drop_new_connections(sock: socket.socket) -> None:
    """Take no new connections on a listening TCP socket. The other sockets of its port do.

    Raises:
        OSError: The system has no such filters.
    """
    # The kernel copies the instructions during the call.
    instructions = array.array("B", _PROGRAM)
    address, length = instructions.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", length // 8, address))


def take_new_connections(sock: socket.socket) -> None:
    """Undo ``drop_new_connections``."""
    with suppress(OSError):  # the socket has no filter
        sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def queued_connections(sock: socket.socket) -> int:
    """How many connections wait in the queue of a listening TCP socket."""
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUED.size)
        (queued,) = _QUEUED.unpack(state)
    except (OSError, struct.error):  # it does not listen
        return 0
    return int(queued)
