"""Tests of cluster.asgi.loop_middleware, and of middleware around async views."""

import threading
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.signals import request_finished
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string
from twisted.trial.unittest import SynchronousTestCase

from cluster.asgi.loop_middleware import RULES, in_loop
from tests.asgi.http_site import HttpSiteTestCase
from tests.django.site import load_database, load_site

SECURITY = "django.middleware.security.SecurityMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"

places: list[Any] = []
"""The threads in which something ran."""


async def plain(request: HttpRequest) -> HttpResponse:
    user = await request.auser()
    return HttpResponse(f"user {user.is_authenticated}")


async def visits(request: HttpRequest) -> HttpResponse:
    count = await request.session.aget("visits", 0) + 1
    await request.session.aset("visits", count)
    return HttpResponse(f"visit {count}")


async def users(request: HttpRequest) -> HttpResponse:
    count = await get_user_model().objects.acount()

    def thread() -> tuple[threading.Thread, bool]:
        return threading.current_thread(), connections["default"].connection is not None

    places.append(await sync_to_async(thread)())
    return HttpResponse(f"users {count >= 0}")


async def tells(request: HttpRequest) -> HttpResponse:
    messages.info(request, "saved")
    return HttpResponse("told")


def handler500(request: HttpRequest) -> HttpResponse:
    return HttpResponse("failed", status=500)


def refused(request: HttpRequest, reason: str) -> HttpResponse:
    return HttpResponse("denied", status=403)


urlpatterns = [
    path("plain/", plain),
    path("visits/", visits),
    path("users/", users),
    path("tells/", tells),
]


class OwnMiddleware(MiddlewareMixin):
    """Middleware of a project."""

    def process_request(self, request: HttpRequest) -> None:
        places.append(threading.current_thread())


class PathsTests(SynchronousTestCase):
    def test_only_djangos_own_classes_are_replaced(self) -> None:
        load_site()
        own = f"{__name__}.OwnMiddleware"
        ours, kept = in_loop([SECURITY, own])
        self.assertEqual(kept, own)
        self.assertTrue(issubclass(import_string(ours), import_string(SECURITY)))

    def test_all_have_the_hooks_of_the_mixin(self) -> None:
        """A class of a later Django that runs in another way would not be replaced."""
        load_site()
        for name, (where, _, _) in RULES.items():
            try:
                django_class = import_string(where)
            except ImportError:
                continue  # of a later Django
            made = import_string(f"cluster.asgi.loop_middleware.{name}")
            self.assertIsNot(made, django_class)
            self.assertEqual(made.__name__, django_class.__name__)


class MiddlewareTests(HttpSiteTestCase):
    urls = __name__
    middleware = (SECURITY, SESSION, COMMON, CSRF, AUTH, MESSAGES)

    def setUp(self) -> None:
        load_database()
        super().setUp()
        places.clear()
        settings = override_settings(CSRF_FAILURE_VIEW=f"{__name__}.refused")
        settings.enable()
        self.addCleanup(settings.disable)

    def test_a_view_that_does_not_block_uses_no_thread(self) -> None:
        async def test() -> None:
            head, body = await self.answer(self.get("/plain/"))
            self.assertEqual(body, b"user False")
            self.assertIn(b"X-Content-Type-Options: nosniff", head)
            self.assertEqual(len(self.requests.threads), 0)

        self.run_test(test)

    def test_a_session_is_saved_and_found(self) -> None:
        async def test() -> None:
            head, body = await self.answer(self.get("/visits/"))
            self.assertEqual(body, b"visit 1", head)
            cookie = head.partition(b"Set-Cookie: ")[2].partition(b";")[0].decode()
            head, body = await self.answer(self.get("/visits/", f"Cookie: {cookie}\r\n"))
            self.assertEqual(body, b"visit 2")

        self.run_test(test)

    def test_messages_are_stored(self) -> None:
        async def test() -> None:
            head, _ = await self.answer(self.get("/tells/"))
            self.assertIn(b"Set-Cookie: messages=", head)

        self.run_test(test)

    def test_forms_need_a_token(self) -> None:
        async def test() -> None:
            post = b"POST /plain/ HTTP/1.1\r\nHost: testserver\r\nContent-Length: 3\r\n\r\na=b"
            head, _ = await self.answer(self.send(post))
            self.assertTrue(head.startswith(b"HTTP/1.1 403 "), head)

        self.run_test(test)

    def test_the_connection_of_a_request_is_closed_at_its_end(self) -> None:
        async def test() -> None:
            for _ in range(3):
                self.assertEqual((await self.answer(self.get("/users/")))[1], b"users True")
                await self.until(lambda: not self.requests.active)
            (thread, is_connected), *others = places
            self.assertTrue(is_connected)
            self.assertEqual(others, [(thread, True)] * 2)
            pool = self.requests.threads._threads[0]
            self.assertEqual((pool.bound, pool.is_connected), (0, False))

        self.run_test(test)

    def test_receivers_of_the_project_run_in_a_thread(self) -> None:
        def receive(**more: object) -> None:
            places.append(threading.current_thread())

        async def test() -> None:
            await self.answer(self.get("/plain/"))
            await self.until(lambda: not self.requests.active)
            self.assertEqual(len(places), 1)
            self.assertIsNot(places[0], threading.current_thread())

        request_finished.connect(receive)
        self.addCleanup(request_finished.disconnect, receive)
        self.run_test(test)


class OwnMiddlewareTests(HttpSiteTestCase):
    urls = __name__
    middleware = (f"{__name__}.OwnMiddleware", SESSION, AUTH)

    def test_it_runs_in_a_thread(self) -> None:
        load_database()
        places.clear()

        async def test() -> None:
            self.assertEqual((await self.answer(self.get("/plain/")))[1], b"user False")
            self.assertIsNot(places[0], threading.current_thread())
            self.assertEqual(len(self.requests.threads), 1)

        self.run_test(test)
