"""Requests of publishers on other machines, which the broker passes to one of its nodes.

A request (core.wire.external_requests) begins with the publisher's Greeting: the site and the
version that it uses. The publications after it are answered together, each with Accepted or
Rejection. They wait while publishers of this node must pause, but not for longer than PAUSE_S: the
publisher has a timeout, too. A node that stops answers what it has not published with Closing, and
the publisher asks again.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cluster.core.exceptions import WireError
from cluster.core.wire.external_publisher import (
    VERSION,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Rejection,
    encode,
)
from cluster.node.publishing.publications import ExternalPublications, log_refused

PAUSE_S = 3.0
"""Seconds that a request waits while publishers must pause; less than a publisher's timeout (5 s),
so that it knows that nothing was published."""

MAX_WAITING_BYTES = 32 << 20
"""Bytes of requests that wait; more are refused. A publisher sends about 1 MiB at a time."""


@dataclass(slots=True)
class _Request:
    id: str
    publications: deque[ExternalMessage]
    size: int
    deadline: float
    answer: bytearray = field(default_factory=bytearray)


class ExternalRequests:
    """Call ``start`` when the node serves, ``resume`` when publishers may resume, and ``stop``.

    Args:
        publications: Publishes what arrives.
        answer: Called with a request's ID and the answer, which must be sent after what was
            published before it, so that the publisher's next message cannot overtake this one.
        clock: The reactor.
    """

    def __init__(
        self, publications: ExternalPublications, answer: Callable[[str, bytes], None], clock: Any
    ) -> None:
        self._publications = publications
        self._answer = answer
        self._clock = clock
        self._site: str | None = None
        self._waiting: deque[_Request] = deque()
        self._waiting_bytes = 0
        self._timer: Any = None

    def start(self, site: str) -> None:
        """Accept requests of ``site``."""
        self._site = site

    def receive(self, request_id: str, data: bytes) -> None:
        """A request has arrived: publish it, now or when publishers may resume."""
        if self._site is None:
            self._answer(request_id, encode(Closing()))
            return
        try:
            messages = deque(MessageDecoder().feed(data))
        except WireError as error:
            self._refuse(request_id, f"this is no request: {error}")
            return
        greeting = messages.popleft() if messages else None
        if not isinstance(greeting, Greeting):
            self._refuse(request_id, "this is no request: it has no greeting")
        elif greeting.version != VERSION:
            self._refuse(
                request_id,
                f"the publisher uses version {greeting.version} of external publications, the"
                f" cluster version {VERSION}",
            )
        elif greeting.site != self._site:
            self._refuse(
                request_id,
                "the publisher belongs to another project, or uses another SECRET_KEY than the"
                " cluster",
            )
        elif self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
            self._refuse(request_id, f"{self._waiting_bytes >> 20} MiB of requests wait already")
        else:
            deadline = self._clock.seconds() + PAUSE_S
            self._waiting.append(_Request(request_id, messages, len(data), deadline))
            self._waiting_bytes += len(data)
            self.resume()

    def resume(self) -> None:
        """Publish what waits, unless publishers must pause."""
        publications = self._publications
        while self._waiting and not publications.full:
            request = self._waiting[0]
            while request.publications and not publications.full:
                request.answer += encode(publications.publish(request.publications.popleft()))
            if not request.publications:
                self._finish()
        if self._waiting and self._timer is None:
            delay = max(0.0, self._waiting[0].deadline - self._clock.seconds())
            self._timer = self._clock.callLater(delay, self._too_late)

    def stop(self) -> None:
        """Publish nothing more: publishers shall ask another node."""
        self._site = None
        while self._waiting:
            self._waiting[0].answer += encode(Closing())
            self._finish()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._waiting and self._waiting[0].deadline <= now:
            reason = f"the queues of the cluster were full for {PAUSE_S:.0f} s"
            rejection = encode(Rejection(reason))
            self._waiting[0].answer += rejection * len(self._waiting[0].publications)
            log_refused(reason)
            self._finish()
        self.resume()

    def _finish(self) -> None:
        request = self._waiting.popleft()
        self._waiting_bytes -= request.size
        self._answer(request.id, bytes(request.answer))

    def _refuse(self, request_id: str, reason: str) -> None:
        """Refuse a whole request: one Rejection stands for all of its publications."""
        log_refused(reason)
        self._answer(request_id, encode(Rejection(reason)))
