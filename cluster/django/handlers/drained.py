"""Callbacks for the moment when a client that did not read has taken all its output."""

import asyncio
from collections.abc import Callable

from cluster.core.interfaces import ClientConnection
from cluster.django.api.topics import set_result


class _Drained:
    """The ``on_drained`` of a connection: calls several functions, once."""

    __slots__ = ("callbacks", "connection")

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.callbacks: list[Callable[[], None]] = []

    def __call__(self) -> None:
        self.connection.on_drained = None
        for callback in self.callbacks:
            callback()


def drained(connection: ClientConnection) -> "asyncio.Future[None]":
    """A future that is resolved the next time that the connection is no longer blocked."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    when_drained(connection, lambda: set_result(future))
    return future


def when_drained(connection: ClientConnection, callback: Callable[[], None]) -> None:
    """Call back once, the next time that the connection is no longer blocked."""
    drained = connection.on_drained
    if not isinstance(drained, _Drained):
        drained = connection.on_drained = _Drained(connection)
    drained.callbacks.append(callback)
