"""The subscribers of a broadcast: processes of plain sockets that record the messages.

A message has 24 bytes: its number and the time at which it was sent, from the monotonic clock of
the machine. A Dialect says how a protocol over WebSocket wraps it.
"""

import multiprocessing
import select
import socket
import time
from array import array
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks import load
from benchmarks.servers import Failed

PATH = "/broadcast/benchmark/"
NUMBER, CLOCK = slice(0, 8), slice(9, 24)
PAYLOAD = 24  # bytes
QUIET_S = 3.0  # seconds without a delivery after which the missing messages count as lost
FORK = multiprocessing.get_context("fork")


class Dialect(NamedTuple):
    """What frames a server sends and expects.

    Attributes:
        path: The URL of publisher and subscribers, with an open query string.
        start: What a client sends when it is connected, with "%s" for its role; empty: nothing.
        started: How the server's answer to it begins.
        sent: The text around a message that a publisher sends.
        received: The text around a message that a subscriber receives.
        ping: A message of the server that must be answered; empty: none.
        pong: The answer.
    """

    path: str
    start: bytes = b""
    started: bytes = b""
    sent: tuple[bytes, bytes] = (b"", b"")
    received: tuple[bytes, bytes] = (b"", b"")
    ping: bytes = b""
    pong: bytes = b""

    def frame(self, message: bytes) -> bytes:
        """Encode a message of a publisher."""
        return load.client_frame(message.join(self.sent))


PLAIN = Dialect(f"{PATH}?")

# Engine.IO 4 and Socket.IO 5: a digit for the type of each packet.
# https://socket.io/docs/v4/engine-io-protocol/, https://socket.io/docs/v4/socket-io-protocol/
SOCKET_IO = Dialect(
    "/socket.io/?EIO=4&transport=websocket&",
    start=b'40{"role":"%s"}',
    started=b"40",
    sent=(b'42["publish","', b'"]'),
    received=(b'42["message","', b'"]'),
    ping=b"2",
    pong=b"3",
)


def open_connections(port: int, dialect: Dialect, role: str, count: int) -> list[socket.socket]:
    """Open `count` connections as "publisher" or "subscriber", ready for messages.

    Raises Failed. The caller closes them.
    """
    sockets = load.connect(
        port, f"{dialect.path}role={role}", count, at_once=20, greeting=bool(dialect.start)
    )
    try:
        for sock in sockets if dialect.start else ():
            _start(sock, dialect, role)
    except BaseException:
        load.close(sockets)
        raise
    return sockets


def _start(sock: socket.socket, dialect: Dialect, role: str) -> None:
    """Exchange the first messages of a connection."""
    sock.send(load.client_frame(dialect.start % role.encode()))
    received = b""
    while True:
        load.wait_for(sock, 30)
        part = sock.recv(load.RECEIVE)
        frames, received = load.split_frames(received + part)
        if any(payload.startswith(dialect.started) for _, payload in frames):
            return
        if not part:
            raise Failed("the server closed a connection at its start")


def message(number: int, now: float) -> bytes:
    """Encode 24 bytes: the number from 1 (0: not counted), and the monotonic clock in seconds."""
    return b"%08d %015.6f" % (number, now)


class Subscribers:
    """Connections that record the number, order and latency of messages."""

    def __init__(self, sockets: Sequence[socket.socket], dialect: Dialect = PLAIN) -> None:
        before, after = map(len, dialect.received)
        self._length = before + PAYLOAD + after
        self._message = slice(before, before + PAYLOAD)
        self._dialect = dialect
        self.received = 0
        self.disorder = 0
        self.disconnected = 0
        self.warm: set[int] = set()
        self.latencies = array("f")  # seconds
        self._by_fd = {sock.fileno(): sock for sock in sockets}
        self._newest = dict.fromkeys(self._by_fd, 0)
        self._left: dict[int, bytes] = {}

    def take(self, fd: int) -> bool:
        """Read from one connection; False if the server has closed it."""
        try:
            received = self._by_fd[fd].recv(load.RECEIVE)
        except ConnectionError:
            received = b""
        now = time.monotonic()
        if not received:
            self.disconnected += 1
            return False
        if fd in self._left:
            received = self._left.pop(fd) + received
        if len(received) == self._length + 2 and received[1] == self._length:
            self.count(fd, received[2:][self._message], now)  # the usual case, which is faster
            return True
        frames, rest = load.split_frames(received)
        if rest:
            self._left[fd] = rest
        for opcode, payload in frames:
            if opcode == load.PING:
                self._by_fd[fd].send(load.client_frame(payload, load.PONG))
            elif opcode == load.TEXT and len(payload) == self._length:
                self.count(fd, payload[self._message], now)
            elif payload and payload == self._dialect.ping:
                self._by_fd[fd].send(load.client_frame(self._dialect.pong))
        return True  # after a Close frame the connection ends

    def count(self, fd: int, payload: bytes, now: float) -> None:
        """Record one delivery."""
        number = int(payload[NUMBER])
        if not number:
            self.warm.add(fd)
            return
        if number <= self._newest[fd]:
            self.disorder += 1
        self._newest[fd] = number
        self.received += 1
        self.latencies.append(now - float(payload[CLOCK]))

    def found(self) -> tuple[int, int, int, array]:
        """Return the deliveries, those out of order, closed connections, and latencies in
        seconds."""
        return self.received, self.disorder, self.disconnected, self.latencies


def subscribe(port: int, count: int, talk: Connection, dialect: Dialect = PLAIN) -> None:
    """Run a process of subscribers: it sends "open", "warm", and after "measure N" its results."""
    load.in_child()
    try:
        sockets = open_connections(port, dialect, "subscriber", count)
        subscribers = Subscribers(sockets, dialect)
        with select.epoll() as poll:
            for sock in sockets:
                poll.register(sock, select.EPOLLIN)
            poll.register(talk, select.EPOLLIN)
            talk.send("open")
            said_warm, expected, quiet_since = False, 0, float("inf")
            while True:
                events = poll.poll(0.5, load.EVENTS)
                for fd, _ in events:
                    if fd == talk.fileno():
                        expected = talk.recv() * count  # the number of messages that were sent
                        quiet_since = time.monotonic()
                        poll.unregister(talk)
                    elif not subscribers.take(fd):
                        poll.unregister(fd)
                if not said_warm and len(subscribers.warm) == count:
                    talk.send("warm")
                    said_warm = True
                if expected:
                    if events:
                        quiet_since = time.monotonic()
                    quiet = time.monotonic() - quiet_since > QUIET_S
                    if quiet or subscribers.received >= expected:
                        break
        talk.send(subscribers.found())
    except (OSError, Failed) as error:
        talk.send(f"subscribers: {error}")


class Audience:
    """The processes of subscribers, as a context manager."""

    def __init__(self, port: int, count: int, processes: int, dialect: Dialect = PLAIN) -> None:
        self._talks: list[Connection] = []
        self._processes: list[Any] = []
        for number in range(processes):
            share = count // processes + (number < count % processes)
            ours, theirs = FORK.Pipe()
            arguments = port, share, theirs, dialect
            process = FORK.Process(target=subscribe, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._talks.append(ours)
            self._processes.append(process)

    def __enter__(self) -> "Audience":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def ready(self) -> bool:
        """Whether each process has sent something."""
        return all(talk.poll() for talk in self._talks)

    def hear(self, seconds: float) -> list[Any]:
        """The next report of each process; raises Failed for an error or a timeout."""
        deadline = time.monotonic() + seconds
        said = []
        for talk in self._talks:
            if not talk.poll(max(0, deadline - time.monotonic())):
                raise Failed("not all subscribers are connected, or some received nothing")
            said.append(talk.recv())
            if isinstance(said[-1], str) and said[-1] not in ("open", "warm"):
                raise Failed(said[-1])
        return said

    def expect(self, messages: int) -> None:
        """Send each process the total number of messages."""
        for talk in self._talks:
            talk.send(messages)
