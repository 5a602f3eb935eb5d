"""Publishes through the engine that the machines of the site share, from a host without a node.

A request with publications goes to one machine, whose node publishes and answers them
(core.wire.external_requests).

* A publication is never lost silently. ``publish`` waits for the answer; the answers to
  ``publish_later`` are passed on when they come.
* One request is on its way at a time, so the order of publications is kept. What threads publish
  meanwhile goes together in the next one.
* The thread that publishes makes the request; what ``publish_later`` leaves is sent by a thread of
  this object.
* A forked process makes its own connection.
"""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from cluster.core.exceptions import ClusterError, NotPublished, WireError
from cluster.core.wire.external_publisher import (
    Accepted,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.django.api.publication import Done
from cluster.django.external.unanswered import Unanswered, refused, uncertain

ANSWER_TIMEOUT_S = 5.0
"""Seconds for a request. A machine that has lost Redis is back, or has been removed, by then; a
node answers after 3 s even if its queues are full (node.publishing.external_requests)."""

HOPELESS_S = 30.0
"""After a request has failed for so long, this process does not wait again for this time: a command
that saves thousands of users publishes as many revocations."""

QUICK_TIMEOUT_S = 0.5
"""Seconds for a request during that time."""

EXIT_TIMEOUT_S = 2.0
"""How long a process that ends tries to send what is left."""

REQUEST_BYTES = 1 << 20
REQUEST_PUBLICATIONS = 500
"""What goes into one request, unless a single publication is longer. A node publishes all of it in
one turn of its event loop."""

MAX_LATER_BYTES = 16 << 20
"""Bytes of ``publish_later`` that wait. Above that the caller waits until some are sent."""

PAUSE_S = 0.05
"""Seconds before another machine is asked because one had no node that publishes."""


class Asks(Protocol):
    """The engine: cluster.uplink.requests.RequestConnection, with errors of this package.

    Methods raise NotRunning if no machine is connected, NotPublished if there is no answer.
    """

    def ask(self, request_id: str, data: bytes, prefer: str, deadline: float) -> tuple[bytes, str]:
        """Send a request to a machine, ``prefer`` if it is there; returns (answer, machine)."""

    def check(self, deadline: float) -> None:
        """Raise NotRunning if no machine is connected."""

    def close(self) -> None:
        """Disconnect; the next request connects again."""


class EnginePublisher:
    """A process's publisher through the engine.

    Args:
        connect: Returns the engine; it connects when it is first used. Raises ConfigurationError.
        site: Returns the name by which the site's nodes know its publishers.
    """

    def __init__(self, connect: Callable[[], Asks], site: Callable[[], str]) -> None:
        self._connect = connect
        self._site = site
        self.forget()

    def forget(self) -> None:
        """Drop the connection and what waits; a forked process must call this."""
        self._engine: Asks | None = None
        self._machine = ""
        self._hopeless_until = 0.0
        self._waiting: deque[Unanswered] = deque()
        self._waiting_bytes = 0
        self._asking: list[Unanswered] = []  # those of the request that is on its way
        self._queue = threading.Lock()  # the old ones may be held by a thread that was not forked
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Raise a ClusterError if nothing could be published now."""
        with self._sending:
            self._connected().check(time.monotonic() + self._patience())

    def publish(self, publication: Publish) -> Accepted:
        """Send, and wait for the answer.

        Raises NotRunning if no machine is connected, NotPublished if the message is refused or not
        answered, ConfigurationError if the engine cannot be used, ValueError if the message is too
        long.
        """
        mine = Unanswered(encode(publication), None)
        self._add(mine)
        while mine.answer is None:
            self._send_some(lambda: mine.answer is None)
        return mine.result()

    def publish_later(self, publication: Publish, done: Done) -> None:
        """Send soon, and call ``done`` with the answer, which may be an error, in any thread.

        Raises ValueError if the message is too long.
        """
        self._add(Unanswered(encode(publication), done))
        while self._waiting_bytes > MAX_LATER_BYTES:
            self._send_some(lambda: True)
        self._wake.set()
        if self._thread is None:
            with self._queue:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="c10k-publisher", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:
                        return  # the interpreter ends: ``finish`` sends
                    self._thread = thread

    def finish(self) -> None:
        """The process ends: send what is left, for a moment."""
        until = time.monotonic() + EXIT_TIMEOUT_S
        self._hopeless_until = until + HOPELESS_S  # requests take QUICK_TIMEOUT_S at most
        if self._sending.acquire(timeout=EXIT_TIMEOUT_S):
            self._sending.release()
            while self._waiting and time.monotonic() < until:
                self._send_some(lambda: True)
        _finish(self._asking, uncertain("the process ended before a machine answered"))
        while left := self._take():
            _finish(left, NotPublished("the process ended before the message was sent"))

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._send_some(lambda: True)

    def _add(self, waiting: Unanswered) -> None:
        with self._queue:
            self._waiting.append(waiting)
            self._waiting_bytes += len(waiting.data)

    def _take(self) -> list[Unanswered]:
        """The publications of the next request."""
        taken: list[Unanswered] = []
        size = 0
        with self._queue:
            while self._waiting and len(taken) < REQUEST_PUBLICATIONS:
                size += len(self._waiting[0].data)
                if taken and size > REQUEST_BYTES:
                    break
                taken.append(self._waiting.popleft())
                self._waiting_bytes -= len(taken[-1].data)
        return taken

    def _send_some(self, is_wanted: Callable[[], bool]) -> None:
        """Make one request, unless another thread has made what is wanted unnecessary.

        The callbacks are called without a lock: they may log, and a log handler may publish.
        """
        taken: list[Unanswered] = []
        answer: ClusterError = uncertain("interrupted before a machine answered")
        try:
            with self._sending:
                if is_wanted():
                    taken = self._asking = self._take()
                    try:
                        answer = self._request(taken)
                    finally:
                        self._asking = []
        except BaseException:
            # A task queue may interrupt anywhere.
            if self._engine is not None:
                self._engine.close()
            raise
        finally:
            _finish(taken, answer)

    # With the lock held.

    def _connected(self) -> Asks:
        if self._engine is None:
            self._engine = self._connect()
        return self._engine

    def _patience(self) -> float:
        is_hopeless = time.monotonic() < self._hopeless_until
        return QUICK_TIMEOUT_S if is_hopeless else ANSWER_TIMEOUT_S

    def _request(self, publications: list[Unanswered]) -> ClusterError:
        """Answer the publications, in one request, or in more if machines have no node.

        Returns the answer to those that have none.
        """
        patience = self._patience()
        deadline = time.monotonic() + patience
        left = publications
        try:
            engine = self._connected()
            while left:
                data = encode(Greeting(self._site())) + b"".join(each.data for each in left)
                answer, machine = engine.ask(secrets.token_hex(16), data, self._machine, deadline)
                self._machine = machine
                left = _answered(left, MessageDecoder().feed(answer))
                self._hopeless_until = 0.0
                if left:
                    self._machine = ""  # its nodes start or stop; another machine is next
                    if time.monotonic() + PAUSE_S >= deadline:
                        raise NotPublished("no machine has a node that publishes")
                    time.sleep(PAUSE_S)
        except WireError as error:
            return uncertain(f"the answer of a machine makes no sense: {error}")
        except ClusterError as error:
            self._machine = ""
            if patience == ANSWER_TIMEOUT_S and time.monotonic() + PAUSE_S >= deadline:
                self._hopeless_until = time.monotonic() + HOPELESS_S
            return error
        return NotPublished("it has no answer")  # none is left


def _answered(
    publications: list[Unanswered], answers: Sequence[ExternalMessage]
) -> list[Unanswered]:
    """Give publications their answers; returns those that another machine may publish."""
    last = answers[-1] if answers else None
    for number, publication in enumerate(publications):
        answer = answers[number] if number < len(answers) else last
        match answer:
            case Accepted() if number < len(answers):
                publication.answer = answer
            case Rejection(reason):
                publication.answer = refused(reason)
            case Closing():
                return publications[number:]
            case _:
                raise WireError(f"{len(answers)} answers to {len(publications)} publications")
    return []


def _finish(publications: Sequence[Unanswered], answer: ClusterError) -> None:
    """Report the answers; ``answer`` is that of publications without one."""
    for publication in publications:
        if publication.answer is None:
            publication.answer = answer
        publication.report()
