"""Heartbeat: the part of a client that sends pings, and notices that a client is gone.

The server sends a ping ``ping_interval`` after the answer to the one before, and closes the session
if the client does not answer for ``ping_timeout``. Two cases are not the end of a session, because
the answer may have arrived unread: the client has sent something else since the ping, or the server
does not read from it (``pause``). Then the next ping follows.
"""

from collections.abc import Callable

from cluster.socketio.engine.options import EngineOptions
from cluster.socketio.engine.registry import Timer, sessions


class Heartbeat:
    """The part of a client that measures its silence. A client has one timer at a time."""

    __slots__ = ("_is_awaited", "_timer", "heard")

    def __init__(self) -> None:
        self.heard = False
        """Whether the client has sent anything since the last ping; set for each message."""
        self._is_awaited = False
        self._timer: Timer | None = None

    @property
    def options(self) -> EngineOptions:
        """The options of the client's server."""
        raise NotImplementedError

    @property
    def is_paused(self) -> bool:
        """Whether the server does not read from the client."""
        raise NotImplementedError

    def send_ping(self) -> None:
        """Send a ping."""
        raise NotImplementedError

    def pong_overdue(self) -> None:
        """End the session: the client has not answered."""
        raise NotImplementedError

    def start_heartbeat(self) -> None:
        """The session is open."""
        self._after(self.options.ping_interval, self._ping)

    def stop_heartbeat(self) -> None:
        """The session has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def received_pong(self) -> None:
        """The client has answered. Ignored if it was not asked."""
        if self._is_awaited:
            self._is_awaited = False
            self._after(self.options.ping_interval, self._ping)

    def _after(self, delay: float, call: Callable[[], None]) -> None:
        self.stop_heartbeat()
        self._timer = sessions.call_later(delay, call)

    def _ping(self) -> None:
        self._timer = None
        self.heard = False
        self._is_awaited = True
        self._after(self.options.ping_timeout, self._check)
        self.send_ping()

    def _check(self) -> None:
        self._timer = None
        if self.heard or self.is_paused:
            options = self.options
            self._after(max(0.0, options.ping_interval - options.ping_timeout), self._ping)
        else:
            self.pong_overdue()
