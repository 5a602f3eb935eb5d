"""The site's middleware, for handshakes and for feeds over HTTP."""

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.django.site import load_database, load_site

load_site()

from django.conf import settings  # noqa: E402 - middleware wants settings first
from django.conf.urls.i18n import i18n_patterns  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.exceptions import MiddlewareNotUsed, PermissionDenied  # noqa: E402
from django.http import HttpResponse, HttpResponseRedirect  # noqa: E402
from django.middleware.common import CommonMiddleware  # noqa: E402
from django.test import override_settings  # noqa: E402
from django.urls import path, register_converter, set_urlconf  # noqa: E402
from django.utils import timezone, translation  # noqa: E402
from django.utils.decorators import async_only_middleware  # noqa: E402
from django.utils.deprecation import MiddlewareMixin  # noqa: E402
from django.utils.functional import SimpleLazyObject  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from cluster import ain_database, feed, websocket  # noqa: E402
from cluster.django.handshake import middleware  # noqa: E402
from cluster.testing import Refused, asynchronous, connect  # noqa: E402
from tests.django.feeds.feed_site import FeedSiteTestCase  # noqa: E402
from tests.django.handshake.test_admission import AdmissionTestCase  # noqa: E402
from tests.django.visitors import cookie, log_in, new_user  # noqa: E402
from tests.net.websocket import wire  # noqa: E402

LOCALE = "django.middleware.locale.LocaleMiddleware"
GERMAN = b"Accept-Language: de"

calls: list[Any] = []
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


def greeting() -> str:
    """A text that Django brings translations of."""
    return translation.gettext("Yes")


class Tenant:
    """Sets an attribute, and notes what it sees of the response."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.tenant = request.headers.get("X-Tenant", "nobody")
        if request.tenant == "denied":
            raise PermissionDenied("no such tenant")
        if request.tenant == "moved":
            return HttpResponseRedirect("https://other.example/")
        if request.tenant == "maintenance":
            return HttpResponse("back soon")
        response = self.get_response(request)
        calls.append(("tenant", response.status_code, threading.get_ident()))
        return response


def coloured(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Undoes after the response what it does before."""

    def call(request: Any) -> Any:
        token = colour.set("blue")
        with translation.override("de"), timezone.override("Asia/Tokyo"):
            response = get_response(request)
        colour.reset(token)
        return response

    return call


@async_only_middleware
def asynchronously(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def call(request: Any) -> Any:
        request.asynchronous = True
        return await get_response(request)

    return call


class Again:
    """Calls get_response a second time, as after an error that does not last."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        self.get_response(request)
        return self.get_response(request)


class Hooks(MiddlewareMixin):
    """The hooks around a view."""

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> Any:
        calls.append(("view", view.__name__, kwargs))
        if kwargs.get("room") == "closed":
            return HttpResponse("closed", status=410)
        return None

    def process_exception(self, request: Any, error: Exception) -> Any:
        calls.append(("exception", type(error).__name__))
        return HttpResponse("caught", status=418) if isinstance(error, KeyError) else None


class ByToken(MiddlewareMixin):
    """Users by a header, found when they are first asked for."""

    def process_request(self, request: Any) -> None:
        name = request.headers.get("X-Token")
        if name:
            request.user = SimpleLazyObject(lambda: User.objects.get(username=name))


class OtherUrls(MiddlewareMixin):
    def process_request(self, request: Any) -> None:
        request.urlconf = f"{__name__}_urls"


class OnlyResponses(MiddlewareMixin):
    def process_response(self, request: Any, response: Any) -> Any:
        raise AssertionError("it must not run")


class NotUsed:
    def __init__(self, get_response: Any) -> None:
        raise MiddlewareNotUsed


class OursOfCommon(CommonMiddleware):
    """It may do more than Django's."""


class Number:
    """A converter that asks the database."""

    regex = "[0-9]+"

    def to_python(self, text: str) -> int:
        return User.objects.filter(pk=-int(text)).count() + int(text)

    def to_url(self, number: int) -> str:
        return str(number)


register_converter(Number, "number_in_database")


def state(request: Any) -> str:
    """What middleware has left behind."""
    found = (
        getattr(request, "tenant", None),
        getattr(request, "LANGUAGE_CODE", None),
        greeting(),
        timezone.get_current_timezone_name(),
        colour.get(),
        str(request.user),
    )
    return " ".join(map(str, found))


async def talk(ws: Any, **captured: Any) -> None:
    await ws.send(state(ws.request))
    in_thread = await ain_database(state, ws.request)
    if in_thread != state(ws.request):
        raise AssertionError(f"ain_database: {in_thread}")
    async for _ in ws:
        pass


def blocking(request: Any, **captured: Any) -> None:
    calls.append(("accept", state(request)))
    if captured.get("room") == "key-error":
        raise KeyError("room")


async def on_the_reactor(request: Any, **captured: Any) -> None:
    blocking(request, **captured)


def topics(request: Any, **captured: Any) -> list[str]:
    return [state(request)]


async def async_topics(request: Any) -> list[str]:
    return [state(request)]


def view(request: Any, number: int = 0) -> HttpResponse:
    return HttpResponse("a view")


urlpatterns = [
    path("ws", websocket(talk)),
    path("sync/<str:room>/", websocket(accept=blocking)(talk)),
    path("async/<str:room>/", websocket(accept=on_the_reactor)(talk)),
    path("feed/", feed(topics)),
    path("async-feed/", feed(async_topics)),
    path("number/<number_in_database:number>/", websocket(accept=blocking)(talk)),
    path("number/<number_in_database:number>/feed/", feed(topics)),
    path("number/<number_in_database:number>/view/", view),
]
with override_settings(USE_I18N=True):
    urlpatterns += i18n_patterns(path("ws", websocket(talk)), path("feed/", feed(topics)))


@contextmanager
def site(*names: str, **more: Any) -> Iterator[None]:
    """The site with more middleware, innermost; names of this module need no path."""
    paths = [name if "." in name else f"{__name__}.{name}" for name in names]
    more = {
        "USE_I18N": True,
        "ROOT_URLCONF": __name__,
        "LANGUAGES": [("en", "English"), ("de", "German"), ("fr", "French")],
        **more,
    }
    calls.clear()
    with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, *paths], **more):
        # Django looks at USE_I18N, which the demo site has off, once in a process.
        before, translation._trans = translation._trans, type(translation._trans)()
        try:
            yield
        finally:
            translation._trans = before


class HandshakeTests(AdmissionTestCase):
    """Through a node's real parts and its database threads."""

    def setUp(self) -> None:
        super().setUp()
        set_urlconf(None)

    def text(self, path_: str, *headers: bytes) -> str:
        """What the handler sent."""
        answer = self.answer_to(path_, *headers)
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        frame = answer.partition(b"\r\n\r\n")[2]
        self.assertEqual([], self.flushLoggedErrors(AssertionError))
        return frame[2 : 2 + frame[1]].decode()

    def test_the_request_carries_what_middleware_set(self) -> None:
        with site("Tenant"):
            for url in ("/ws", "/sync/a/", "/async/a/"):
                text = self.text(url, b"X-Tenant: acme")
                self.assertEqual("acme None Yes UTC none AnonymousUser", text)
        self.assertEqual(["acme None Yes UTC none AnonymousUser"] * 2, self.accepted())
        threads = {call[2] for call in calls if call[0] == "tenant"}
        self.assertNotIn(threading.get_ident(), threads)

    def accepted(self) -> list[str]:
        return [call[1] for call in calls if call[0] == "accept"]

    def test_middleware_sees_the_status(self) -> None:
        with site("Tenant"):
            self.text("/ws")
            self.status("/sync/key-error/")
            self.flushLoggedErrors(KeyError)
            self.status("/nothing/")
        self.assertEqual([101, 500, 404], [call[1] for call in calls if call[0] == "tenant"])

    def test_language(self) -> None:
        with site(LOCALE):
            for url in ("/ws", "/sync/a/", "/async/a/"):
                text = self.text(url, GERMAN)
                self.assertEqual("None de Ja UTC none AnonymousUser", text)
                self.assertEqual("None en Yes UTC none AnonymousUser", self.text(url))
        self.assertEqual({"None de Ja UTC none AnonymousUser"}, {*self.accepted()[::2]})

    def test_language_of_the_url(self) -> None:
        with site(LOCALE):
            self.assertEqual("None de Ja UTC none AnonymousUser", self.text("/de/ws"))
            self.assertEqual("None fr Oui UTC none AnonymousUser", self.text("/fr/ws", GERMAN))
            self.assertEqual(404, self.status("/xx/ws"))

    def test_language_of_the_url_without_middleware(self) -> None:
        with site():
            self.assertTrue(self.text("/de/ws").startswith("None None Yes"))

    def test_what_is_active_around_the_view_is_active_in_the_handler(self) -> None:
        expected = "None None Ja Asia/Tokyo blue AnonymousUser"
        with site("coloured"):
            for url in ("/ws", "/sync/a/", "/async/a/"):
                self.assertEqual(expected, self.text(url))
            self.assertEqual([expected] * 2, self.accepted())
        self.assertEqual(("none", "UTC"), (colour.get(), timezone.get_current_timezone_name()))

    def test_refusals(self) -> None:
        with site("Tenant"):
            for tenant, status, part in (
                (b"denied", 403, b"no such tenant"),
                (b"moved", 302, b"Location: https://other.example/"),
                (b"maintenance", 403, b"not permitted"),
            ):
                answer = self.answer_to("/ws", b"X-Tenant: " + tenant)
                self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), answer)
                self.assertIn(part, answer)
        self.assertEqual([], calls)

    def test_hooks(self) -> None:
        with site("Hooks"):
            self.text("/sync/a/")
            self.assertEqual(("view", "talk", {"room": "a"}), calls[0])
            self.assertEqual(410, self.status("/sync/closed/"))
            self.assertEqual(418, self.status("/sync/key-error/"))
        self.assertEqual(("exception", "KeyError"), calls[-1])

    def test_middleware_that_only_changes_responses_does_not_run(self) -> None:
        async def test() -> None:
            connection, transport = self.connect(wire.request())
            self.clock.advance(0)
            self.assertTrue(transport.written.startswith(b"HTTP/1.1 101 "))
            self.lose(connection)

        with site("OnlyResponses", "NotUsed", C10K={"SKIP_MIDDLEWARE": [f"{__name__}.NotUsed"]}):
            self.run_async(test)
        self.assertEqual(0, self.pool.calls)

    def test_middleware_that_is_not_used(self) -> None:
        with site("NotUsed", "Tenant"):
            self.assertTrue(self.text("/ws").startswith("nobody"))

    def test_asynchronous_middleware(self) -> None:
        with site("Tenant", "asynchronously", "coloured"):
            self.assertEqual("nobody None Ja Asia/Tokyo blue AnonymousUser", self.text("/ws"))

    def test_a_session_and_its_user(self) -> None:
        user = new_user()
        with site("Tenant"):
            text = self.text("/sync/a/", cookie(log_in(user)[1]))
        self.assertEqual(f"nobody None Yes UTC none {user}", text)

    def test_a_user_that_middleware_found(self) -> None:
        user = new_user()

        async def test() -> None:
            connection, transport = await self.ask(
                "/async/a/", b"X-Token: " + user.username.encode()
            )
            await self.until(lambda: transport.written.endswith(user.username.encode()))
            self.revoke(user)
            await self.settle()
            self.assertTrue(transport.written.endswith(b"the session has ended"))
            self.lose(connection)

        with site("ByToken"):
            self.run_async(test)

    def test_middleware_that_calls_get_response_again(self) -> None:
        with site("Again"):
            for url in ("/sync/a/", "/async/a/"):
                self.text(url)
        self.assertEqual(["accept"] * 3, [call[0] for call in calls])

    def revoke(self, user: Any) -> None:
        from django.core import signing

        self.clients.take(signing.dumps({"user": str(user.pk)}, salt="c10k.revocation"))

    def test_another_urlconf(self) -> None:
        with site("OtherUrls"):
            self.assertEqual(f"{__name__}_urls", self.text("/elsewhere"))
            self.assertEqual(404, self.status("/ws"))

    def test_a_converter_that_asks_the_database(self) -> None:
        for names in ((), ("Tenant",)):
            with site(*names):
                self.assertIn("Yes", self.text("/number/5/"))

    def test_loaded_once_and_with_errors_at_the_start(self) -> None:
        with site("Tenant"):
            self.assertIs(middleware.of_site(), middleware.of_site())
        with site("does.not.Exist"):
            self.assertRaises(ImportError, self.prepare)


class SelectionTests(SynchronousTestCase):
    """Which middleware runs."""

    def test_of_the_demo_site_none(self) -> None:
        self.assertIsNone(middleware.of_site().chain)

    def test_by_class(self) -> None:
        for name, has_effect in (
            (f"{__name__}.OursOfCommon", True),
            (f"{__name__}.Tenant", True),
            (f"{__name__}.coloured", True),
            (f"{__name__}.Hooks", True),
            (f"{__name__}.OnlyResponses", False),
            (LOCALE, True),
            ("django.contrib.sites.middleware.CurrentSiteMiddleware", True),
            ("django.contrib.auth.middleware.LoginRequiredMiddleware", False),
        ):
            with override_settings(MIDDLEWARE=[name]):
                self.assertEqual(has_effect, middleware.of_site().chain is not None, name)


class TestClientTests(SynchronousTestCase):
    """In tests of applications."""

    def setUp(self) -> None:
        load_database()

    @asynchronous
    async def test_language_and_refusal(self) -> None:
        with site("Tenant", LOCALE):
            headers = {"Accept-Language": "de"}
            for url in ("/ws", "/sync/a/", "/async/a/"):
                async with connect(url, headers=headers) as client:
                    text = await client.receive()
                    self.assertEqual("nobody de Ja UTC none AnonymousUser", text)
            with self.assertRaises(Refused) as caught:
                async with connect("/ws", headers={"X-Tenant": "moved"}):
                    pass
            self.assertEqual(302, caught.exception.status)
        self.assertEqual("Yes", greeting())

    @asynchronous
    async def test_a_feed_over_websocket(self) -> None:
        with site("Tenant", LOCALE):
            for url in ("/feed/", "/de/feed/", "/async-feed/"):
                headers = {"Accept-Language": "de"}
                async with connect(url, subprotocols=["c10k.v1"], headers=headers) as client:
                    topic = (await client.receive_json())["topic"]
                    self.assertEqual("nobody de Ja UTC none AnonymousUser", topic)


class FeedTests(FeedSiteTestCase):
    """Over HTTP."""

    def setUp(self) -> None:
        load_database()
        super().setUp()
        set_urlconf(None)

    def first_topic(self, url: str, *headers: str) -> Any:
        answers = []

        async def test() -> None:
            transport = await self.stream(url, *headers)
            answers.append(self.answer(transport))
            self.lose(transport)

        self.run_async(test)
        return answers[0].events[1]["data"]["topic"] if answers[0].status == 200 else answers[0]

    def test_language_and_attributes(self) -> None:
        with site("Tenant", LOCALE):
            for url in ("/feed/", "/async-feed/", "/de/feed/"):
                topic = self.first_topic(url, "Accept-Language: de", "X-Tenant: acme")
                self.assertEqual("acme de Ja UTC none AnonymousUser", topic)

    def test_refusals(self) -> None:
        with site("Tenant"):
            answer = self.first_topic("/feed/", "X-Tenant: moved")
            self.assertEqual(302, answer.status)
            self.assertEqual("https://other.example/", answer.headers["location"])
            self.assertEqual(403, self.first_topic("/feed/", "X-Tenant: denied").status)

    def test_a_converter_that_asks_the_database(self) -> None:
        with site():
            self.assertIn("Yes", self.first_topic("/number/5/feed/"))
            for url in ("/number/5/view/", "/number/5/none/"):
                self.views.clear()
                self.ask_view(url)
                self.assertEqual([url.encode()], self.views)

    def ask_view(self, url: str) -> None:
        async def test() -> None:
            self.lose(await self.stream(url))

        self.run_async(test)
