"""Closes clients whose session has expired, and clients that are connected for too long.

A session that ends sends a signal (session_signals.py), but one that expires does not: nothing
happens until somebody loads it. So the session of each client that came with one is loaded again
from time to time, in a database thread: at the end that ``set_expiry`` gave it if this was a date,
and otherwise after a twentieth of its age, because only the backend knows when it was last saved.
With Django's default of two weeks that is once in an hour.

Clients without a session cost nothing, unless ``MAX_CONNECTION_AGE`` is set.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings as django_settings
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from cluster.django.api.database_threads import ain_database
from cluster.django.handshake.requests import ReactorRequest
from cluster.django.revocation.revocable_clients import CLOSE_REVOKED, CLOSE_SESSION_CHANGED, Close
from cluster.logs.rate_limit import LimitedLog
from cluster.net.loop.timers import CoarseTimers, Timeout

CLOSE_TOO_OLD = 1012
"""Service restart: the client shall connect again (RFC 6455, section 7.4.1 and IANA's registry)."""

SOONEST_S, LATEST_S = 1.0, 3600.0
"""Seconds between two checks of a session."""

PART_OF_AGE = 20

AGE_SPREAD = 0.1
"""Clients that connected together are closed at up to this part of the age before it."""

RETRY_S = 60.0
"""Seconds after which a check that failed is made again."""

_COOKIES = "django.contrib.sessions.backends.signed_cookies"


class ClientExpiry:
    """The clients of one node that end by time. Belongs to the reactor thread.

    Args:
        clock: The reactor.
        settings: The C10K setting with its defaults; CLOSE_EXPIRED_SESSIONS and MAX_CONNECTION_AGE.

    ``expired`` counts the clients that were closed, by reason: "session" and "age".
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, settings: dict[str, Any]) -> None:
        self.expired: Counter[str] = Counter()
        self._timers = CoarseTimers(clock)
        self._log_failed = LimitedLog(self._log.failure, "sessions that could not be checked")
        self._max_age: float | None = settings["MAX_CONNECTION_AGE"]
        self._with_sessions: bool = settings["CLOSE_EXPIRED_SESSIONS"]

    def watch(self, request: ReactorRequest | None, close: Close) -> Callable[[], None] | None:
        """Call ``close(code, reason)`` when the client has been connected for too long.

        Args:
            request: The client's, after ``sessions.load``; None if the client has no session.
            close: Closes the client.

        Returns:
            A function that the caller must call when the client is gone; None if the client does
            not end by time.
        """
        has_session = (
            self._with_sessions and request is not None and request.session_cookie is not None
        )
        if not has_session and self._max_age is None:
            return None
        client = _Client(close)
        if self._max_age is not None:
            age = self._max_age * (1 - AGE_SPREAD * random.random())
            client.by_age = self._timers.call_later(age, self._too_old, client)
        if has_session:
            assert request is not None
            delay = seconds_to_check(request.session)
            client.by_session = self._timers.call_later(delay, self._check, client, request)
        return client.cancel

    def _too_old(self, client: "_Client") -> None:
        self.expired["age"] += 1
        client.close(CLOSE_TOO_OLD, "this connection has reached its maximum age")

    def _check(self, client: "_Client", request: ReactorRequest) -> None:
        client.by_session = None
        checking = self._check_in_thread(client, request)
        client.checking = asyncio.get_running_loop().create_task(checking)

    async def _check_in_thread(self, client: "_Client", request: ReactorRequest) -> None:
        assert request.session_cookie is not None
        try:
            delay = await ain_database(check, type(request.session), request.session_cookie)
        except Exception:
            self._log_failed("", "a client's session could not be checked; it stays connected")
            delay = RETRY_S
        client.checking = None
        if client.is_gone:
            return
        if delay is not None:
            client.by_session = self._timers.call_later(delay, self._check, client, request)
            return
        self.expired["session"] += 1
        # A signed cookie expires even if the browser has a new one: the client shall try again.
        is_final = request.user_key is not None and django_settings.SESSION_ENGINE != _COOKIES
        client.close(
            CLOSE_REVOKED if is_final else CLOSE_SESSION_CHANGED, "the session has expired"
        )


class _Client:
    __slots__ = ("by_age", "by_session", "checking", "close", "is_gone")

    def __init__(self, close: Close) -> None:
        self.close = close
        self.is_gone = False
        self.by_age: Timeout | None = None
        self.by_session: Timeout | None = None
        self.checking: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """The client is gone. Idempotent."""
        self.is_gone = True
        for timeout in (self.by_age, self.by_session):
            if timeout is not None:
                timeout.cancel()
        # Not if this is called by the check itself, which closes the client.
        if self.checking is not None:
            self.checking.cancel()


def seconds_to_check(session: Any) -> float:
    """Seconds after which to check whether a session has expired."""
    age = float(session.get_expiry_age())
    # Django keeps a date as text of ISO 8601; a number of seconds counts from the last change.
    is_date = isinstance(session.get("_session_expiry"), str | datetime)
    if not is_date:
        age = min(LATEST_S, age / PART_OF_AGE) * random.uniform(0.8, 1)
    return max(SOONEST_S, age)


def check(store: Any, key: str) -> float | None:
    """Load a session again. Blocks; raises the errors of its backend.

    Args:
        store: The class of the site's sessions.
        key: The session's key.

    Returns:
        Seconds until the next check, or None if the session has expired or was deleted.
    """
    session = store(key)
    return seconds_to_check(session) if session.keys() else None
