"""The clients of the benchmarks: plain sockets on one epoll, the same for all servers.

A client uses little CPU time: its frames are encoded once and masked with a constant, and answers
of a known size are counted rather than parsed. Sockets are non-blocking and have TCP_NODELAY. Each
group of clients connects from another loopback address, because the ports of earlier groups are in
TIME_WAIT.
"""

import errno
import itertools
import resource
import select
import signal
import socket
import time
from collections.abc import Sequence

from benchmarks.servers import Failed

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
MASK = bytes.fromhex(
    "37fa213d"
)  # from the examples of RFC 6455; servers may skip unmasking for zero
RECEIVE = 1 << 16
EVENTS = 4096  # of one poll
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; not in Python's socket module before 3.12

_groups = itertools.count()


def masked(payload: bytes) -> bytes:
    """XOR with MASK, which masks and unmasks."""
    repeated = MASK * (len(payload) // 4 + 1)
    return bytes(a ^ b for a, b in zip(payload, repeated, strict=False))


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Encode a final frame with a payload of at most 125 bytes, as a client sends it."""
    if len(payload) > 125:
        raise ValueError(f"{len(payload)} bytes are more than a short frame holds: 125")
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + MASK + masked(payload)


def split_frames(received: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Decode a server's short frames; returns (opcode, payload) of each, and the incomplete
    rest."""
    frames, at = [], 0
    while len(received) >= at + 2:
        length = received[at + 1]
        if length > 125:
            raise Failed("a frame is longer than any that this benchmark asked for")
        if len(received) < at + 2 + length:
            break
        frames.append((received[at] & 0x0F, received[at + 2 : at + 2 + length]))
        at += 2 + length
    return frames, received[at:]


def upgrade_request(port: int, path: str, extensions: str = "") -> bytes:
    """Encode the opening request: the required headers (RFC 6455, section 4.1), and an offer of
    extensions unless it is empty."""
    offer = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Version: 13\r\n{offer}\r\n"
    ).encode()


def allow_descriptors(needed: int) -> None:
    """Raise the limit of this process and its children; raises Failed if that is not allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < needed + 100:
        raise Failed(
            f"{needed} connections need more descriptors than the {hard} allowed: ulimit -n"
        )


def in_child() -> None:
    """Ignore Ctrl-C. Call this first in a process that was forked for a load."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C signals all processes, but the parent ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def connect(
    port: int,
    path: str,
    count: int,
    at_once: int = 100,
    timeout: float = 60.0,
    extensions: str = "",
    greeting: bool = False,
) -> list[socket.socket]:
    """Open `count` WebSockets, `at_once` handshakes at a time; raises Failed on a timeout.

    The caller closes them. greeting: the server sends a frame before it has received one; it stays
    unread.
    """
    request = upgrade_request(port, path, extensions)
    source = f"127.0.0.{2 + next(_groups) % 200}"
    opened: list[socket.socket] = []
    pending: dict[int, tuple[socket.socket, bytearray]] = {}
    deadline = time.monotonic() + timeout
    try:
        with select.epoll() as poll:
            while len(opened) < count:
                while len(pending) < at_once and len(pending) + len(opened) < count:
                    sock = _start(source, port)
                    pending[sock.fileno()] = sock, bytearray()
                    poll.register(sock, select.EPOLLOUT)
                events = poll.poll(deadline - time.monotonic(), EVENTS)
                if not events or time.monotonic() > deadline:
                    raise Failed(f"{len(opened)} of {count} connections open after {timeout:.0f} s")
                for fd, event in events:
                    sock, answer = pending[fd]
                    if event == select.EPOLLOUT:
                        sock.send(request)
                        poll.modify(fd, select.EPOLLIN)
                        continue
                    # Raises the error of the connection, if any.
                    answer += _header(sock) if greeting else sock.recv(RECEIVE)
                    if _is_open(bytes(answer)):
                        poll.unregister(fd)
                        del pending[fd]
                        opened.append(sock)
    except BaseException as error:
        close([*opened, *(sock for sock, _ in pending.values())])
        if isinstance(error, OSError):
            raise Failed(f"connection {len(opened) + 1} of {count}: {error}") from error
        raise
    return opened


def _header(sock: socket.socket) -> bytes:
    """Receive no more than the rest of the answer's header."""
    end = sock.recv(RECEIVE, socket.MSG_PEEK).find(b"\r\n\r\n")
    return sock.recv(end + 4 if end >= 0 else RECEIVE)


def connect_only(port: int, count: int) -> list[socket.socket]:
    """Open `count` connections without sending anything. The caller closes them."""
    source = f"127.0.0.{2 + next(_groups) % 200}"
    sockets = [_start(source, port) for _ in range(count)]
    for sock in sockets:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        if not poll.poll(30_000):
            raise Failed("a connection was not accepted for 30 s")
    return sockets


def _start(source: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))
    result = sock.connect_ex(("127.0.0.1", port))
    if result not in (0, errno.EINPROGRESS):
        sock.close()
        raise OSError(result, errno.errorcode.get(result, "?"))
    return sock


def _is_open(answer: bytes) -> bool:
    """Whether the server's answer is complete; raises Failed for a status other than 101."""
    if not answer or (len(answer) > 12 and not answer.startswith(b"HTTP/1.1 101")):
        first = answer.partition(b"\r\n")[0].decode(errors="replace") or "nothing"
        raise Failed(f"the server answered {first}")
    end = answer.find(b"\r\n\r\n")
    if end >= 0 and len(answer) > end + 4:
        raise Failed(f"the server sent a frame before any was due: {answer[end + 4 :]!r}")
    return end >= 0


def close(sockets: Sequence[socket.socket]) -> None:
    """Disconnect all without a closing handshake."""
    for sock in sockets:
        sock.close()


def echo(
    sockets: Sequence[socket.socket],
    payload: bytes,
    in_flight: int,
    seconds: float,
    expected_answer: bytes | None = None,
) -> int:
    """Keep `in_flight` messages in flight on each socket; returns the number of answers.

    A socket sends again when all of its answers have arrived, until the time is over. The answer is
    the payload if no other is given.
    """
    output, answer = client_frame(payload) * in_flight, len(expected_answer or payload) + 2
    expected = answer * in_flight
    missing = {sock.fileno(): expected for sock in sockets}
    by_fd = {sock.fileno(): sock for sock in sockets}
    received = 0
    open_rounds = len(sockets)
    with select.epoll() as poll:
        for sock in sockets:
            poll.register(sock, select.EPOLLIN)
            sock.send(output)
        end = time.perf_counter() + seconds
        while open_rounds:
            events = poll.poll(30, EVENTS)
            if not events:
                raise Failed("no answer for 30 s")
            is_running = time.perf_counter() < end
            for fd, _ in events:
                sock = by_fd[fd]
                size = len(sock.recv(RECEIVE))
                if not size:
                    raise Failed("the server closed a connection")
                received += size
                left = missing[fd] - size
                if left <= 0:
                    if is_running:
                        left += expected
                        sock.send(output)
                    else:
                        open_rounds -= 1
                missing[fd] = left
    return received // answer


def wait_for(sock: socket.socket, seconds: float) -> None:
    """Wait until the socket is readable; raises Failed on a timeout."""
    poll = select.poll()  # select.select does not take descriptors above 1,023
    poll.register(sock, select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise Failed(f"no answer for {seconds:.0f} s")


def send_all(sock: socket.socket, output: bytes) -> None:
    """Send all data; waits while the server does not read."""
    while output := output[_sent(sock, output) :]:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        if not poll.poll(30_000):
            raise Failed("the server has read nothing for 30 s")


def _sent(sock: socket.socket, output: bytes) -> int:
    try:
        return sock.send(output)
    except BlockingIOError:
        return 0


def check_echo(sock: socket.socket, payload: bytes, expected_answer: bytes | None = None) -> None:
    """Raise Failed unless the server sends exactly this message back, or the given answer."""
    sock.send(client_frame(payload))
    answer = expected_answer or payload
    expected, received = bytes([0x80 | TEXT, len(answer)]) + answer, b""
    while len(received) < len(expected):
        wait_for(sock, 10)
        part = sock.recv(RECEIVE)
        received += part
        if not part:
            break
    if received != expected:
        raise Failed(f"the echo is not what was sent: {received!r}")


def hold(sockets: Sequence[socket.socket], seconds: float) -> int:
    """Answer pings for some time; returns their number.

    Raises Failed if a server closes a connection. Pings that arrive before the end are answered,
    even if this process is scheduled only later.
    """
    by_fd = {sock.fileno(): sock for sock in sockets}
    left: dict[int, bytes] = {}
    end = time.monotonic() + seconds
    pongs = 0
    with select.epoll() as poll:
        for sock in sockets:
            poll.register(sock, select.EPOLLIN)
        remaining = seconds
        while remaining > 0:
            remaining = end - time.monotonic()
            for fd, _ in poll.poll(max(0.0, remaining), EVENTS):
                sock = by_fd[fd]
                data = sock.recv(RECEIVE)
                if not data:
                    raise Failed("the server closed an idle connection")
                frames, rest = split_frames(left.pop(fd, b"") + data)
                if rest:
                    left[fd] = rest
                for opcode, payload in frames:
                    if opcode == PING:
                        sock.send(client_frame(payload, PONG))
                        pongs += 1
                    elif opcode == CLOSE:
                        raise Failed(f"the server closed an idle connection: {payload!r}")
    return pongs
