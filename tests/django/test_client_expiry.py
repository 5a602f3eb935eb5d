"""Clients that are closed by time: with their session, or at the maximum age of a connection."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from django.contrib.sessions.backends.db import SessionStore
from django.db import DatabaseError
from django.test import override_settings
from django.utils import timezone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.django import client_expiry
from cluster.django.client_expiry import ClientExpiry, seconds_to_check
from cluster.django.conf import DEFAULTS
from cluster.logs.rate_limit import BURST
from tests.django.handshake.test_sessions import COOKIES, request_of
from tests.django.site import load_database
from tests.django.visitors import guest, log_in, new_user

TWO_WEEKS = 14 * 24 * 3600


class Page:
    """A client that records how it was closed."""

    def __init__(self, expiry: ClientExpiry, request: Any) -> None:
        self.closes: list[tuple[int, str]] = []
        self.leave = expiry.watch(request, self._close)

    def _close(self, code: int, reason: str) -> None:
        self.closes.append((code, reason))
        if self.leave is not None:
            self.leave()


class ClientExpiryTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.clock = Clock()
        # The check runs in this thread, which has the test's database.
        self.patch(os, "environ", {**os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE": "1"})
        self.asked: list[Any] = []
        self.patch(client_expiry, "ain_database", self.ask)

    async def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        self.asked.append(args)
        return function(*args)

    def expiry(self, **settings: Any) -> ClientExpiry:
        return ClientExpiry(self.clock, {**DEFAULTS, **settings})

    async def advance(self, seconds: float) -> None:
        """Let time pass as a node's clock does: in steps, and with turns of the loop between."""
        for _ in range(20):
            self.clock.advance(seconds / 20)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def run_async(self, test: Callable[[], Awaitable[None]]) -> None:
        asyncio.run(test())  # type: ignore[arg-type]


class SessionTests(ClientExpiryTestCase):
    @staticmethod
    def expire(key: str) -> None:
        """What time does to a session: no signal is sent."""
        from django.contrib.sessions.models import Session

        past = timezone.now() - timedelta(seconds=1)
        assert Session.objects.filter(session_key=key).update(expire_date=past) == 1

    def test_a_user_whose_session_expires(self) -> None:
        async def test() -> None:
            _, key = log_in(new_user())
            _, other = log_in(new_user())
            expiry = self.expiry()
            page, bystander = Page(expiry, request_of(key)), Page(expiry, request_of(other))
            await self.advance(3600)
            self.assertEqual(page.closes, [])
            self.expire(key)
            await self.advance(3600)
            self.assertEqual(page.closes, [(4401, "the session has expired")])
            await self.advance(TWO_WEEKS)
            self.assertEqual(len(page.closes), 1)
            self.assertEqual(bystander.closes, [])
            self.assertEqual(dict(expiry.expired), {"session": 1})

        self.run_async(test)

    def test_a_guest_shall_connect_again(self) -> None:
        async def test() -> None:
            _, key = guest()
            page = Page(self.expiry(), request_of(key))
            self.expire(key)
            await self.advance(3600)
            self.assertEqual(page.closes, [(1012, "the session has expired")])

        self.run_async(test)

    @override_settings(SESSION_ENGINE=COOKIES, SESSION_COOKIE_AGE=100)
    def test_a_signed_cookie_may_have_been_renewed(self) -> None:
        async def test() -> None:
            _, key = log_in(new_user())
            request = request_of(key)
            page = Page(self.expiry(), request)
            await self.advance(5)
            self.assertEqual(page.closes, [])
            with override_settings(SESSION_COOKIE_AGE=-1):
                await self.advance(5)
            self.assertEqual([code for code, _ in page.closes], [1012])

        self.run_async(test)

    def test_a_session_with_a_date_is_checked_at_that_date(self) -> None:
        async def test() -> None:
            browser, key = guest()
            session = browser.session
            session.set_expiry(timezone.now() + timedelta(seconds=500))
            session.save()
            self.assertEqual(round(seconds_to_check(session), -1), 500)
            page = Page(self.expiry(), request_of(key))
            await self.advance(490)
            self.assertEqual(self.asked, [])
            self.expire(key)
            await self.advance(20)
            self.assertEqual([code for code, _ in page.closes], [1012])

        self.run_async(test)

    def test_seconds_to_the_next_check(self) -> None:
        session = SessionStore()
        for age, least, most in ((TWO_WEEKS, 2880, 3600), (1000, 40, 50), (4, 1, 1)):
            session.set_expiry(age)
            seconds = seconds_to_check(session)
            self.assertTrue(least <= seconds <= most, (age, seconds))

    def test_a_check_that_fails_is_made_again(self) -> None:
        async def fail(*_: Any) -> None:
            raise DatabaseError("the database has stopped")

        async def test() -> None:
            _, key = log_in(new_user())
            expiry = self.expiry()
            page = Page(expiry, request_of(key))
            self.expire(key)
            self.patch(client_expiry, "ain_database", fail)
            await self.advance(3600)
            self.assertTrue(self.flushLoggedErrors(DatabaseError))
            self.assertEqual(page.closes, [])
            self.patch(client_expiry, "ain_database", self.ask)
            await self.advance(client_expiry.RETRY_S * 2)
            self.assertEqual([code for code, _ in page.closes], [4401])

        self.run_async(test)

    def test_many_checks_that_fail_fill_no_log(self) -> None:
        """As when the database is away."""

        async def fail(*_: Any) -> None:
            raise DatabaseError("the database has stopped")

        async def test() -> None:
            _, key = log_in(new_user())
            expiry = self.expiry()
            pages = [Page(expiry, request_of(key)) for _ in range(20)]
            self.patch(client_expiry, "ain_database", fail)
            await self.advance(3600)
            self.assertEqual(len(self.flushLoggedErrors(DatabaseError)), BURST)
            self.assertEqual([page.closes for page in pages], [[]] * 20)

        self.run_async(test)

    def test_clients_that_have_left_are_not_checked(self) -> None:
        async def test() -> None:
            _, key = log_in(new_user())
            page = Page(self.expiry(), request_of(key))
            assert page.leave is not None
            page.leave()
            page.leave()
            await self.advance(TWO_WEEKS)
            self.assertEqual(self.asked, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

        self.run_async(test)

    def test_a_client_that_leaves_during_the_check(self) -> None:
        async def wait(*_: Any) -> None:
            await asyncio.Event().wait()

        async def test() -> None:
            self.patch(client_expiry, "ain_database", wait)
            page = Page(self.expiry(), request_of(log_in(new_user())[1]))
            await self.advance(3600)
            checks = asyncio.all_tasks() - {asyncio.current_task()}
            self.assertEqual(len(checks), 1)
            assert page.leave is not None
            page.leave()
            await asyncio.wait(checks)
            self.assertEqual([task.cancelled() for task in checks], [True])
            self.assertEqual(page.closes, [])

        self.run_async(test)

    def test_switched_off(self) -> None:
        request = request_of(log_in(new_user())[1])
        self.assertIsNone(Page(self.expiry(CLOSE_EXPIRED_SESSIONS=False), request).leave)

    def test_clients_without_a_session_cost_nothing(self) -> None:
        for request in (None, request_of("no such session")):
            self.assertIsNone(Page(self.expiry(), request).leave)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AgeTests(ClientExpiryTestCase):
    def test_clients_are_closed_in_the_last_tenth_of_the_age(self) -> None:
        expiry = self.expiry(MAX_CONNECTION_AGE=1000)
        pages = [Page(expiry, None) for _ in range(100)]
        self.clock.advance(899)
        self.assertEqual([page for page in pages if page.closes], [])
        self.clock.advance(51)
        closed = [page for page in pages if page.closes]
        self.assertTrue(10 < len(closed) < 90, len(closed))
        self.clock.advance(51)
        self.assertEqual({page.closes[0][0] for page in pages}, {1012})
        self.assertEqual(dict(expiry.expired), {"age": 100})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_has_left(self) -> None:
        page = Page(self.expiry(MAX_CONNECTION_AGE=1000), None)
        assert page.leave is not None
        page.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])
