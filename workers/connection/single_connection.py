"""Opens one connection before all others, to check a URL or to prepare the server."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from workers.connection.dialer import Dialer
from workers.connection.epoll_reader import EpollReader
from workers.connection.failure_reasons import hint, why_not_connected, why_not_opened
from workers.connection.target import Target
from workers.connection.websocket import Connection


class NotOpened(Exception):
    """The connection could not be opened; the text is for the user."""


async def open_once(
    reactor: Any,
    target: Target,
    path: str,
    timeout: float,
    opened: Callable[[Connection], None],
) -> tuple[int, str]:
    """Open a connection, call `opened` with it, and wait until it is closed.

    timeout: seconds for TCP, and again for the handshake and all that follows; then the connection
    is aborted. Returns the close code and the reason. Raises NotOpened.
    """
    epoll_reader = EpollReader(reactor)
    dialer = Dialer(reactor, [target], path, timeout, epoll_reader)
    closed: Deferred[tuple[int, str]] = Deferred()
    was_open = False
    give_up = None
    epoll_reader.start()
    try:
        connection = await dialer.dial(0)

        def is_open() -> None:
            nonlocal was_open
            was_open = True
            opened(connection)

        connection.opened = is_open
        connection.closed = lambda code, reason, was_clean: closed.callback((code, reason))
        give_up = reactor.callLater(timeout, connection.abort)
        code, reason = await closed
    except Exception as error:
        raise _not_opened(target, path, why_not_connected(error)) from None
    finally:
        epoll_reader.stop()
        if give_up is not None and give_up.active():
            give_up.cancel()
    if not was_open:
        raise _not_opened(target, path, why_not_opened(reason))
    return code, reason


def _not_opened(target: Target, path: str, why: str) -> NotOpened:
    return NotOpened(f"cannot connect to {target.url}{path}: {why}{hint(why)}")
