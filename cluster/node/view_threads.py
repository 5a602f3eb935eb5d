"""The views of a node's Django site, in a bounded pool of threads.

Requests beyond the pool and its queue are answered 503 at once instead of waiting without bound.
The rules:

* ``active`` counts the views that run or wait for a thread, whether their clients are there or not;
* when its client leaves, a view that runs goes on, and one that waits is not begun;
* a few are begun in each turn of the reactor, however many are asked for.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.wsgi import WSGIResource

BEGUN_PER_TURN = 4
"""Views begun in one turn of the reactor. Each takes its time here and in its thread, so that
hundreds asked for in one moment would keep WebSockets waiting (``benchmarks.slow_views``)."""


class ViewThreads(Resource):
    """Runs the WSGI application, or says 503 when as many requests wait as may."""

    isLeaf = True

    def __init__(self, reactor: Any, pool: ThreadPool, application: Any, queue: int) -> None:
        super().__init__()
        self._wsgi = WSGIResource(reactor, self, application)
        self._reactor = reactor
        self._pool = pool
        self._limit = pool.max + queue
        self._threads = pool.max
        self.active = 0
        self.refused = 0
        self._gone: list[object] = []
        self._due: deque[tuple[HTTPRequest, list[object]]] = deque()
        self._begun = 0  # in this turn of the reactor
        self._next_turn: Any = None

    @property
    def queue_depth(self) -> int:
        """Requests that wait for a thread."""
        return max(0, self.active - self._threads)

    def render(self, request: HTTPRequest) -> Any:
        if self.active >= self._limit:
            self.refused += 1
            request.setResponseCode(503)
            request.setHeader(b"Retry-After", b"1")
            request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
            return b"Too many requests are waiting; try again.\n"
        self.active += 1
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        self._due.append((request, gone))
        if self._next_turn is None:
            self._turn()
        elif self._begun < BEGUN_PER_TURN:
            self._begin_one()
        return NOT_DONE_YET

    def _turn(self) -> None:
        """Begin as many as may be, and again in the reactor's next turn."""
        self._next_turn = None
        self._begun = 0
        while self._due and self._begun < BEGUN_PER_TURN:
            self._begin_one()
        if self._begun:
            self._next_turn = self._reactor.callLater(0, self._turn)

    def _begin_one(self) -> None:
        request, self._gone = self._due.popleft()
        self._begun += 1
        if self._gone:
            self._finished()
            return
        try:
            self._wsgi.render(request)
        except Exception:
            self._finished()
            request.processingFailed(Failure())  # type: ignore[attr-defined]

    def callInThread(self, run: Callable[[], object]) -> None:
        """All that WSGIResource asks of a thread pool; called from within its render."""
        self._pool.callInThread(self._run, run, self._gone)

    def _run(self, run: Callable[[], object], gone: list[object]) -> None:
        try:
            if not gone:
                run()
        finally:
            self._reactor.callFromThread(self._finished)

    def _finished(self) -> None:
        self.active -= 1
