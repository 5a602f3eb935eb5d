"""Django's ASGI handler, for the async views of a node.

It differs from Django's in these points:

* It reads the request's body from where the node holds it, without a copy.
* Django's own middleware uses no thread where it does not block (loop_middleware), and its signals
  none for requests that have used none.
* Other synchronous middleware, receivers of signals and ``sync_to_async`` use the shared threads of
  async_threads. A site with middleware that is only synchronous has a thread for each request
  instead, because such middleware waits in its thread until the view has ended.
* A synchronous stream, such as that of FileResponse, is sent as it comes, too.
* It is one task, which the node cancels when the client leaves; ``request_finished`` is sent also
  after an error in a streaming response.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.cache import close_caches
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.base import reset_urlconf
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries
from django.dispatch import Signal
from django.urls import set_script_prefix
from django.utils.module_loading import import_string
from twisted.logger import Logger

from cluster.asgi.async_threads import AsyncThreads, RequestThread
from cluster.asgi.http_cycle import HttpCycle
from cluster.asgi.loop_middleware import in_loop
from cluster.asgi.scope import Scope

STATIC_FILES = "whitenoise.middleware.WhiteNoiseMiddleware"
"""Middleware that is left out: it answers requests for files, which are not at the URL of an async
view, and is only synchronous."""

DJANGOS_STARTED = (reset_queries, close_old_connections)
DJANGOS_FINISHED = (close_old_connections, close_caches, reset_urlconf)
"""Django's own receivers of its signals. They look after what a request leaves in its thread, and
do not block. So without further receivers, and without a thread, they need none."""

_log = Logger()


def only_synchronous(paths: Sequence[str]) -> list[str]:
    """The middleware among these dotted paths that has no asynchronous form."""
    return [path for path in paths if not getattr(import_string(path), "async_capable", False)]


class ViewHandler(ASGIHandler):
    """Answers the requests of async views.

    Args:
        threads: The threads for synchronous code.
    """

    def __init__(self, threads: AsyncThreads) -> None:
        self._threads = threads
        before = settings.MIDDLEWARE
        paths = [path for path in before if path != STATIC_FILES]
        blocking = only_synchronous(paths)
        self._shares_threads = not blocking
        if blocking:
            _log.warn(
                "each request of an async view keeps a thread until its view has ended, because of"
                " middleware that is only synchronous: {names}",
                names=", ".join(blocking),
            )
        settings.MIDDLEWARE = in_loop(paths)
        try:
            super().__init__()
        finally:
            settings.MIDDLEWARE = before

    async def answer(self, cycle: HttpCycle, body: Any, scope: Scope, send: Any) -> None:
        """Answer one request.

        Args:
            cycle: Its cycle.
            body: Its body, a file.
            scope: Its scope.
            send: That of ASGI.
        """
        if not self._shares_threads:
            async with ThreadSensitiveContext():
                await self._answer(cycle, body, scope, send, None)
            return
        with self._threads.for_request() as thread:
            await self._answer(cycle, body, scope, send, thread)

    async def _answer(
        self, cycle: HttpCycle, body: Any, scope: Scope, send: Any, thread: RequestThread | None
    ) -> None:
        set_script_prefix(get_script_prefix(scope))
        response: Any = None
        is_in_thread = False
        try:
            if thread is None or not _has_only(DJANGOS_STARTED, request_started):
                await request_started.asend(sender=self.__class__, scope=scope)
            request, response = self.create_request(scope, body)
            if request is not None:
                cycle.http_request = request
                response = await self.run_get_response(request)
            if response.streaming and not response.is_async:
                is_in_thread = True
                response.streaming_content = _parts_in_thread(response.streaming_content)
            await self.send_response(response, send)
        finally:
            is_clean = (
                thread is not None
                and not thread.is_bound
                and not is_in_thread
                and _has_only(DJANGOS_FINISHED, request_finished)
            )
            if response is not None:
                await self._close(response, is_clean)
            elif is_clean:
                request_finished.send(sender=self.__class__)
            else:
                await request_finished.asend(sender=self.__class__)

    @staticmethod
    async def _close(response: Any, is_clean: bool) -> None:
        """Close a response, after the generator of its content: Django would leave a generator that
        was not exhausted to the garbage collection.

        Args:
            response: The response.
            is_clean: Whether the request has left nothing in a thread.
        """
        try:
            if response.streaming and response.is_async:
                close = getattr(response._iterator, "aclose", None)
                if close is not None:
                    await close()
        finally:
            if is_clean:
                response.close()
            else:
                await sync_to_async(response.close)()


async def _parts_in_thread(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The parts of a synchronous stream, each made in the thread of the request when the client has
    read the one before. Django would make all of them first."""
    next_part = sync_to_async(partial(next, parts, None))
    while (part := await next_part()) is not None:
        yield part


def _has_only(djangos: tuple[Any, ...], signal: Signal) -> bool:
    """Whether only Django's own functions receive a signal."""
    known = set(map(id, djangos))
    return all(lookup[0] in known for lookup, *_ in signal.receivers)
