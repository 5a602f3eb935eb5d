"""Which requests the event loop answers itself: those for async views, and for ASGI applications.

A view is asynchronous if Django would await it: a coroutine function, a class-based view with
coroutine handlers, or what decorators have marked as one. All other requests go to the threads.

The URL is resolved for the decision, which is remembered for each path. It need not be right: both
sides serve every view, as Django adapts it. A site without async views and applications decides
nothing. A URL whose path converter asks the database is for the threads, because Django resolves
the URL of an async view in the event loop.
"""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import SynchronousOnlyOperation
from django.urls import ResolverMatch, URLResolver, get_resolver

from cluster.asgi.async_threads import AsyncThreads
from cluster.asgi.http_cycle import HttpCycle
from cluster.asgi.lifespan import Lifespans
from cluster.asgi.scope import Application, http_scope
from cluster.asgi.urlconf import mount_of
from cluster.asgi.view_handler import ViewHandler
from cluster.asgi.websocket_cycle import GRACE_S
from cluster.django.handshake.url_resolver import NoHandler, find_view
from cluster.net.loop.turn_budget import TurnBudget

SYNC, ASYNC, APPLICATION = "sync", "async", "application"
"""Kinds of requests: for the threads, for Django in the event loop, for an ASGI application."""

REMEMBERED = 4096
"""Paths whose kind is remembered."""

REMEMBERED_BYTES = 200
"""Bytes of the longest of them."""


class AsyncRequests:
    """The requests that the event loop of one node answers.

    Args:
        clock: The reactor.
        settings: The C10K setting with its defaults.
        budget: That of the event loop's turns.
        otherwise: The application of the whole site, which has all URLs at which no other one is
            mounted; None without one.

    ``lifespans`` are those of the applications. ``served`` counts requests by kind; ``refused``
    those answered 503 because too many ran already, and ``left`` those whose client left before the
    response was complete.
    """

    def __init__(
        self,
        clock: Any,
        settings: dict[str, Any],
        budget: TurnBudget,
        otherwise: ResolverMatch | None = None,
    ) -> None:
        self.served: Counter[str] = Counter()
        self.refused = 0
        self.left = 0
        self.limit: int = settings["ASYNC_REQUESTS"]
        self._clock = clock
        self._budget = budget
        self._tasks: set[asyncio.Task[None]] = set()
        self._kinds: dict[bytes, str] = {}
        self._context = contextvars.copy_context()
        views = list(_views(get_resolver()))
        found = set(map(_kind_of, views))
        if otherwise is not None:
            views.append(otherwise.func)
        self.lifespans = Lifespans(view.asgi_mount for view in views if _is_mount(view))
        self._otherwise = otherwise
        self._is_used = otherwise is not None or not found <= {SYNC}
        self.threads = AsyncThreads(settings["WSGI_THREADS"])
        self._handler: ViewHandler | None = None
        if ASYNC in found and otherwise is None:
            self._handler = ViewHandler(self.threads)  # now, so that its errors end the start

    @property
    def active(self) -> int:
        """Requests that are being answered."""
        return len(self._tasks)

    def take(self, request: Any) -> bool:
        """Answer a request of the node, or return False if it is for the threads."""
        if not self._is_used:
            return False
        kind, match = self._kinds.get(request.path), None
        if kind is None or kind == APPLICATION:
            kind, match = self._find(request.path)
        match = match or self._otherwise
        if match is not None:
            kind = APPLICATION
        elif kind == SYNC:
            return False
        self._start(request, kind, match)
        return True

    def cancel(self) -> None:
        """Cancel the requests that have not ended: the node stops."""
        for task in self._tasks:
            task.cancel()

    def _find(self, path: bytes) -> tuple[str, ResolverMatch | None]:
        """The kind of a path, and the match of an application that is mounted there."""
        match: ResolverMatch | None = None
        try:
            match = find_view(path.decode("ascii"))[0]
            kind = _kind_of(match.func)
        except (NoHandler, SynchronousOnlyOperation):
            kind = SYNC
        except Exception:  # raised again, and logged, in the thread
            return SYNC, None
        self._remember(path, kind)
        return kind, match if kind == APPLICATION else None

    def _remember(self, path: bytes, kind: str) -> None:
        if len(path) <= REMEMBERED_BYTES:
            if len(self._kinds) >= REMEMBERED:
                self._kinds.clear()
            self._kinds[path] = kind

    def _start(self, request: Any, kind: str, match: ResolverMatch | None) -> None:
        if len(self._tasks) >= self.limit:
            self._refuse(request)
            return
        self.served[kind] += 1
        if kind == ASYNC:
            cycle, application = self._cycle_of_view(request)
        else:
            assert match is not None
            cycle, application = self._cycle_of_application(request, match)
        task = cycle.start(application, self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, cycle))

    def _cycle_of_view(self, request: Any) -> tuple[HttpCycle, Application]:
        if self._handler is None:  # a test has changed the URLconf
            self._handler = ViewHandler(self.threads)
        scope = http_scope(request)
        cycle = HttpCycle(request, scope, "an async view", self._budget, self._clock)
        answer = partial(self._handler.answer, cycle, request.content)
        return cycle, lambda scope, receive, send: answer(scope, send)

    def _cycle_of_application(
        self, request: Any, match: ResolverMatch
    ) -> tuple[HttpCycle, Application]:
        mount = mount_of(match)
        assert mount is not None
        scope = http_scope(request, state=mount.state)
        scope = mount.complete(scope, match.args, match.kwargs)
        cycle = HttpCycle(request, scope, mount.name, self._budget, self._clock, GRACE_S)
        return cycle, mount.application

    def _ended(self, cycle: HttpCycle, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self.left += cycle.has_left

    def _refuse(self, request: Any) -> None:
        self.refused += 1
        body = b"Too many requests are running; try again.\n"
        request.setResponseCode(503)
        request.setHeader(b"Retry-After", b"1")
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()


def _views(resolver: URLResolver) -> Iterator[Any]:
    """All views of a URLconf."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern)
        else:
            yield pattern.callback


def _is_mount(view: Any) -> bool:
    return getattr(view, "asgi_mount", None) is not None


def _kind_of(view: Any) -> str:
    if _is_mount(view):
        return APPLICATION
    return ASYNC if iscoroutinefunction(view) else SYNC
