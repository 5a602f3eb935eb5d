"""Publishes through a node on this host, from a process that is not a node.

The process (a shell, a cron job, a worker of a task queue) connects to the publish socket of any
node of the user's cluster and keeps that connection (core.wire.external_publisher has the
messages). The node answers each publication, in order.

* A publication is never lost silently. ``publish`` waits for the answer; the answers to
  ``publish_later`` are read with the next publication or when the process ends, and a bad one is
  logged.
* When the node stops, publications that it has not taken go to another one.
* Threads share the connection. A forked process makes its own.
"""

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster.core.exceptions import (
    ClusterError,
    NotPublished,
    WireError,
)
from cluster.core.wire.external_publisher import (
    Accepted,
    Closing,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.django.api.publication import Done
from cluster.django.external.node_lookup import NodeLookup
from cluster.django.external.unanswered import Unanswered, refused, uncertain

ANSWER_TIMEOUT_S = 10.0
"""A node stops reading while its queues are full, and answers when they have drained."""

EXIT_TIMEOUT_S = 1.0
"""How long a process that ends waits for answers that nobody has read."""


class NodePublisher:
    """A process's connection to a cluster, made when it is first needed.

    Args:
        find: Returns the running clusters: first port -> folder.
        port: Returns the first port of the one to use; None if there is only one of ``site()``.
        site: Returns the name of the site whose cluster it must be.
    """

    def __init__(
        self,
        find: Callable[[], dict[int, str]],
        port: Callable[[], int | None] = lambda: None,
        site: Callable[[], str] = lambda: "",
    ) -> None:
        self._nodes = NodeLookup(find, port, site)
        self.forget()

    def forget(self) -> None:
        """Drop the connection; a forked process must call this."""
        self._lock = threading.Lock()  # the old one may be held by a thread that was not forked
        self._socket: socket.socket | None = None
        self._decoder = MessageDecoder()
        self._unanswered: deque[Unanswered] = deque()
        self._answered: list[Unanswered] = []

    def check(self) -> None:
        """Raise NotRunning or ConfigurationError if nothing could be published now."""
        with self._locked():
            self._connected()

    def publish(self, publication: Publish) -> Accepted:
        """Send, and wait for the answer.

        Raises NotRunning if no cluster of this site is running, ConfigurationError if several are,
        NotPublished if the node refuses or does not answer, ValueError if the message is too long.
        """
        mine = Unanswered(encode(publication), None)
        with self._locked():
            self._send(mine)
            while mine.answer is None:
                self._read_answers(ANSWER_TIMEOUT_S)
        return mine.result()

    def publish_later(self, publication: Publish, done: Done) -> None:
        """Send, and do not wait for the answer, with which ``done`` is called some time.

        Raises what publish raises before it waits; then ``done`` is not called.
        """
        with self._locked():
            self._send(Unanswered(encode(publication), done))
            self._read_answers(0)

    def finish(self) -> None:
        """The process ends: wait a moment for the answers that nobody has read."""
        deadline = time.monotonic() + EXIT_TIMEOUT_S
        with self._locked():
            while self._unanswered:
                self._read_answers(max(0.001, deadline - time.monotonic()))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock; report the answers that came meanwhile when it is released."""
        answered: list[Unanswered] = []
        try:
            with self._lock:
                try:
                    yield
                finally:
                    answered, self._answered = self._answered, []
        finally:
            for publication in answered:
                publication.report()

    # With the lock held.

    def _finish(self, publication: Unanswered, answer: Accepted | Exception) -> None:
        publication.answer = answer
        self._answered.append(publication)

    def _send(self, publication: Unanswered) -> None:
        """Send a publication; to another node if this one turns out to be gone."""
        while True:
            connected = self._connected()
            connected.settimeout(ANSWER_TIMEOUT_S)
            self._unanswered.append(publication)
            try:
                connected.sendall(publication.data)
                return
            except OSError as error:
                # The node has not got all of it, so it cannot have published it.
                self._unanswered.pop()
                self._read_answers(0)  # those to earlier ones
                if self._socket is connected:
                    self._end(_gone(error))
                if isinstance(error, TimeoutError):
                    raise NotPublished(
                        f"the node took no publication for {ANSWER_TIMEOUT_S:.0f} s"
                    ) from None
            except BaseException:
                # A task queue may interrupt anywhere. The stream is cut in the middle of a message.
                self._unanswered.pop()
                self._end(_gone("interrupted"))
                raise

    def _read_answers(self, timeout_s: float) -> None:
        """Take the answers that have come; if none has, wait so long for some."""
        connected = self._socket
        if connected is None:
            return
        try:
            connected.settimeout(timeout_s)
            data = _receive(connected)
            messages = self._decoder.feed(data)
        except BlockingIOError:
            return
        except TimeoutError:
            self._end(uncertain(f"the node did not answer within {timeout_s:.0f} s"))
            return
        except OSError as error:
            self._end(_gone(error))
            return
        except WireError as error:
            self._end(uncertain(f"the node's answer makes no sense: {error}"))
            return
        except BaseException:
            self._end(_gone("interrupted"))
            raise
        if not data:
            self._end(_gone(None))
        for message in messages:
            match message:
                case Accepted() if self._unanswered:
                    self._finish(self._unanswered.popleft(), message)
                case Rejection(reason) if self._unanswered:
                    self._finish(self._unanswered.popleft(), refused(reason))
                    self._send_elsewhere()
                    return
                case Closing():
                    self._send_elsewhere()
                    return
                case _:
                    kind = type(message).__name__
                    self._end(uncertain(f"the node's answer makes no sense: {kind}"))
                    return

    def _send_elsewhere(self) -> None:
        """The node takes nothing more: send to another one what this one has not answered."""
        publications = list(self._unanswered)
        self._unanswered.clear()
        self._disconnect()
        for publication in publications:
            try:
                self._send(publication)
            except ClusterError as error:
                self._finish(publication, error)

    def _end(self, reason: NotPublished) -> None:
        """The connection is of no use any more, and nothing is known of what was not answered."""
        publications = list(self._unanswered)
        self._unanswered.clear()
        self._disconnect()
        for publication in publications:
            self._finish(publication, reason)

    def _connected(self) -> socket.socket:
        """A connection that is good, as far as one can know."""
        if self._socket is not None and _is_readable(self._socket):
            self._read_answers(0)  # or learn that it has ended
        if self._socket is None:
            self._decoder = MessageDecoder()
            self._socket = self._nodes.connect()
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _receive(connected: socket.socket) -> bytes:
    return connected.recv(65536)


def _is_readable(connected: socket.socket) -> bool:
    """Whether there are bytes to read, or the node has disconnected."""
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))


def _gone(error: OSError | str | None) -> NotPublished:
    why = error.strerror if isinstance(error, OSError) else error
    return uncertain(f"the node went away before it answered{f' ({why})' if why else ''}")
