"""The subscribers of a broadcast: processes of plain sockets that record the messages.

A message has 24 bytes: its number and the time at which it was sent, from the monotonic clock of
the machine.
"""

import multiprocessing
import select
import socket
import time
from array import array
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks import load
from benchmarks.servers import Failed

PATH = "/broadcast/benchmark/"
NUMBER, CLOCK = slice(0, 8), slice(9, 24)
PAYLOAD = 24  # bytes
FRAME = 2 + PAYLOAD
QUIET_S = 3.0  # seconds without a delivery after which the missing messages count as lost
FORK = multiprocessing.get_context("fork")


def message(number: int, now: float) -> bytes:
    """Encode 24 bytes: the number from 1 (0: not counted), and the monotonic clock in seconds."""
    return b"%08d %015.6f" % (number, now)


class Subscribers:
    """Connections that record the number, order and latency of messages."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
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
        if len(received) == FRAME and received[1] == PAYLOAD:  # the usual case, which is faster
            self.count(fd, received[2:], now)
            return True
        frames, rest = load.split_frames(received)
        if rest:
            self._left[fd] = rest
        for opcode, payload in frames:
            if opcode == load.PING:
                self._by_fd[fd].send(load.client_frame(payload, load.PONG))
            elif opcode == load.TEXT:
                self.count(fd, payload, now)
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


def subscribe(port: int, count: int, talk: Connection) -> None:
    """Run a process of subscribers: it sends "open", "warm", and after "measure N" its results."""
    load.in_child()
    try:
        sockets = load.connect(port, f"{PATH}?role=subscriber", count, at_once=20)
        subscribers = Subscribers(sockets)
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

    def __init__(self, port: int, count: int, processes: int) -> None:
        self._talks: list[Connection] = []
        self._processes: list[Any] = []
        for number in range(processes):
            share = count // processes + (number < count % processes)
            ours, theirs = FORK.Pipe()
            process = FORK.Process(target=subscribe, args=(port, share, theirs), daemon=True)
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
