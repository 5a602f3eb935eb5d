"""The start-up and shutdown of ASGI applications in a node.

::

    receive()   lifespan.startup ..................... lifespan.shutdown
    send()              startup.complete | .failed               shutdown.complete

``startup`` runs before the node accepts connections, ``shutdown`` when its clients are gone. An
application that raises an exception in place of an answer has no lifespan, as that of Django; it
is served without one.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from twisted.logger import Logger

from cluster.asgi.scope import ASGI_VERSION, Application
from cluster.asgi.urlconf import Mount
from cluster.core.exceptions import ClusterError

LIFESPAN_SPEC = "2.0"

_log = Logger()


class StartupFailed(ClusterError):
    """An application answered that it cannot start."""


class Lifespan:
    """That of one application.

    Args:
        application: The application.
        name: Its name, for the log.
        state: The dictionary that it may fill at its start-up.
    """

    def __init__(self, application: Application, name: str, state: dict[str, Any]) -> None:
        self._application = application
        self._name = name
        self._state = state
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._failure: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the application, and wait until it answers.

        Raises:
            StartupFailed: It cannot start.
        """
        self._events.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)
        await self._answer()
        if self._failure is not None:
            raise StartupFailed(f"{self._name} did not start: {self._failure}")

    async def shutdown(self, seconds: float) -> None:
        """Let the application end.

        Args:
            seconds: How long it may take. Then it is cancelled.
        """
        task = self._task
        if task is None or task.done():
            return
        self._answered.clear()
        self._events.put_nowait({"type": "lifespan.shutdown"})
        try:
            async with asyncio.timeout(seconds):
                await self._answer()
        except TimeoutError:
            _log.warn("{name} did not shut down in time; cancelled", name=self._name)
        if self._failure is not None:
            _log.warn("{name} did not shut down: {reason}", name=self._name, reason=self._failure)
        task.cancel()

    async def _answer(self) -> None:
        """Wait for the application's answer, or its end."""
        assert self._task is not None
        answered = asyncio.ensure_future(self._answered.wait())
        try:
            await asyncio.wait([answered, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            answered.cancel()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": ASGI_VERSION, "spec_version": LIFESPAN_SPEC},
            "state": self._state,
        }
        try:
            await self._application(scope, self._events.get, self._send)
        except GeneratorExit:
            raise
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # SystemExit, too, which would end the node
            if self._answered.is_set():
                _log.failure("the lifespan of {name} failed", name=self._name)
            else:
                _log.debug("{name} has no lifespan: {error}", name=self._name, error=error)

    async def _send(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
            self._failure = event.get("message") or "it did not say why"
        elif kind not in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            raise RuntimeError(f"{kind!r} was sent during the lifespan")
        self._answered.set()


class Lifespans:
    """Those of all applications of a node.

    Args:
        mounts: Where they are. An application that is at several places starts once, and its
            places share a state.
    """

    def __init__(self, mounts: Iterable[Mount]) -> None:
        states: dict[int, dict[str, Any]] = {}
        self._all: list[Lifespan] = []
        self._mounts = list(mounts)
        for mount in self._mounts:
            key = id(mount.application)
            if key in states:
                mount.state = states[key]
            else:
                mount.state = states[key] = {}
                self._all.append(Lifespan(mount.application, mount.name, mount.state))

    def __bool__(self) -> bool:
        """Whether there is any application."""
        return bool(self._all)

    async def startup(self) -> None:
        """Start all applications.

        Raises:
            StartupFailed: One of them cannot start.
        """
        await asyncio.gather(*(each.startup() for each in self._all))

    async def shutdown(self, seconds: float) -> None:
        """Let all applications end.

        Args:
            seconds: How long they may take.
        """
        await asyncio.gather(*(each.shutdown(seconds) for each in self._all))
