"""The HttpRequest of a client that the reactor serves."""

from typing import Any

from django.http import HttpRequest
from django.test import override_settings
from django.urls import path, resolve, set_urlconf
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from cluster.django.handlers.handler_decorator import websocket
from cluster.django.handshake.requests import ReactorRequest, from_web, of_handshake
from tests.django.site import load_site


@websocket
async def talk(ws: Any, room: str) -> None:
    """Its URL is resolved."""


urlpatterns = [path("rooms/<str:room>/", talk, name="talk")]


class HandshakeRequestTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        set_urlconf(__name__)
        self.addCleanup(set_urlconf, None)

    def request(self, uri: str = "/rooms/na%C3%AFve/?a=1&a=2&b=", **headers: str) -> ReactorRequest:
        return of_handshake(
            uri,
            "/rooms/naïve/",
            {"host": "localhost:8000"} | {key.replace("_", "-"): headers[key] for key in headers},
            secure=False,
            client="192.0.2.7",
            match=resolve("/rooms/naïve/"),
        )

    def test_attributes_that_django_code_uses(self) -> None:
        request = self.request(cookie="theme=dark; a=b", user_agent="x", origin="http://localhost")
        self.assertIsInstance(request, HttpRequest)
        self.assertTrue(request.is_handshake)
        self.assertEqual((request.method, request.path), ("GET", "/rooms/naïve/"))
        self.assertEqual((request.path_info, request.scheme), ("/rooms/naïve/", "http"))
        self.assertEqual(request.GET.getlist("a"), ["1", "2"])
        self.assertEqual(request.GET["b"], "")
        self.assertEqual(request.COOKIES, {"theme": "dark", "a": "b"})
        self.assertEqual(request.headers["User-Agent"], "x")
        self.assertEqual(request.META["REMOTE_ADDR"], "192.0.2.7")
        self.assertEqual(request.META["SERVER_PORT"], "8000")
        self.assertEqual(request.get_host(), "localhost:8000")
        self.assertEqual(request.build_absolute_uri("/x"), "http://localhost:8000/x")
        self.assertEqual(request.get_full_path(), "/rooms/na%C3%AFve/?a=1&a=2&b=")
        match = request.resolver_match
        assert match is not None
        self.assertEqual((match.url_name, match.kwargs), ("talk", {"room": "naïve"}))

    def test_over_tls(self) -> None:
        request = of_handshake("/", "/rooms/a/", {"host": "localhost"}, secure=True, client="")
        self.assertTrue(request.is_secure())
        self.assertEqual(request.META["SERVER_PORT"], "443")

    def test_a_host_with_an_invalid_port(self) -> None:
        """ALLOWED_HOSTS accepts any number of digits."""
        for port in ("", "x", "٣٣", "9" * 5000):
            with override_settings(ALLOWED_HOSTS=["localhost"]):
                request = self.request(host=f"localhost:{port}")
                self.assertEqual(request.META["SERVER_PORT"], "80")

    def test_an_ipv6_address_as_host(self) -> None:
        for host, port in {"[::1]:8000": "8000", "[::1]": "80"}.items():
            request = self.request(host=host)
            self.assertEqual(request.META["SERVER_NAME"], "[::1]")
            self.assertEqual(request.META["SERVER_PORT"], port)

    def test_a_query_that_is_not_utf_8(self) -> None:
        self.assertEqual(self.request("/rooms/?a=\xff").GET["a"], "�")
        self.assertEqual(self.request("/rooms/?a=na\xc3\xafve").GET["a"], "naïve")

    def test_headers_with_underscores_are_dropped(self) -> None:
        request = of_handshake(
            "/", "/rooms/a/", {"remote_user": "root", "x_a": "1"}, secure=False, client=""
        )
        self.assertEqual([key for key in request.META if key.startswith("HTTP_")], [])

    def test_the_user_is_anonymous_before_a_session_is_loaded(self) -> None:
        request = self.request()
        self.assertTrue(request.user.is_anonymous)
        self.assertTrue(request.session.is_empty())
        self.assertIsNone(request.session_cookie)
        self.assertIsNone(request.user_key)

    def test_a_cookie_alone_does_not_authenticate(self) -> None:
        request = self.request(cookie="sessionid=abcdefgh")
        with override_settings(SESSION_ENGINE="django.contrib.sessions.backends.cache"):
            self.assertTrue(request.session.is_empty())
        self.assertTrue(request.user.is_anonymous)


class WebRequest:
    """The parts of twisted.web's request that from_web uses."""

    def __init__(self, uri: bytes, **headers: str) -> None:
        self.uri = uri
        self.method = b"GET"
        self.requestHeaders = Headers({name: [value] for name, value in headers.items()})

    def isSecure(self) -> bool:
        return True

    def getClientAddress(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 0)


class WebRequestTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def test_of_twisted_web(self) -> None:
        request = from_web(WebRequest(b"/na%C3%AFve/?q=%20", Host="localhost", Cookie="a=b"))
        self.assertFalse(request.is_handshake)
        self.assertEqual((request.path, request.GET["q"]), ("/naïve/", " "))
        self.assertEqual((request.COOKIES, request.scheme), ({"a": "b"}, "https"))
        self.assertEqual(request.META["REMOTE_ADDR"], "192.0.2.7")

    def test_a_path_that_is_not_utf_8(self) -> None:
        self.assertRaises(ValueError, from_web, WebRequest(b"/%ff"))
