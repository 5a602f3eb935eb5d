"""Which pages may open a WebSocket."""

from autobahn.websocket.types import ConnectionDeny
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handshake.origins import check_host_and_origin, is_allowed
from tests import profiles  # noqa: F401  (loads it)
from tests.django.site import load_site

HOST = "example.com:8000"


class OriginTests(SynchronousTestCase):
    def assert_allowed(
        self, origin: str | None, host: str = HOST, secure: bool = False, extra: object = ()
    ) -> None:
        self.assertTrue(is_allowed(origin, host, secure, extra))  # type: ignore[arg-type]

    def assert_refused(
        self, origin: str | None, host: str = HOST, secure: bool = False, extra: object = ()
    ) -> None:
        self.assertFalse(is_allowed(origin, host, secure, extra))  # type: ignore[arg-type]

    def test_a_client_without_an_origin(self) -> None:
        self.assert_allowed(None)

    def test_the_site_s_own_pages(self) -> None:
        self.assert_allowed("http://example.com:8000")
        self.assert_allowed("http://EXAMPLE.com:8000")
        self.assert_allowed("http://example.com", "example.com")
        self.assert_allowed("http://example.com:80", "example.com")
        self.assert_allowed("https://example.com", "example.com", secure=True)
        self.assert_allowed("https://example.com", "example.com:443", secure=True)
        self.assert_allowed("http://[::1]:8000", "[::1]:8000")
        # TLS ends at a proxy that passes the Host on with its port
        self.assert_allowed("https://example.com:8000")

    def test_null_is_refused(self) -> None:
        for origin in ("null", "", "file://", "about:blank", "data:text/html,x"):
            self.assert_refused(origin)
            self.assert_refused(origin, extra=[origin])

    def test_foreign_pages(self) -> None:
        for origin in (
            "http://evil.example:8000",
            "http://example.com",
            "http://example.com:8001",
            "http://sub.example.com:8000",
            "http://example.com.evil.example:8000",
            "http://example.com@evil.example:8000",
            "http://evil.example:8000/example.com:8000",
            "chrome-extension://example.com:8000",
            "ftp://example.com:8000",
            "example.com:8000",
            "//example.com:8000",
        ):
            self.assert_refused(origin)

    def test_another_port_by_default(self) -> None:
        self.assert_refused("http://example.com", "example.com", secure=True)
        self.assert_refused("https://example.com", "example.com", secure=False)

    def test_origins_of_the_setting(self) -> None:
        extra = ["https://app.example.com", "https://other.example.com:8443"]
        self.assert_allowed("https://app.example.com", extra=extra)
        self.assert_allowed("https://app.example.com:443", extra=extra)
        self.assert_allowed("https://other.example.com:8443", extra=extra)
        self.assert_refused("http://app.example.com", extra=extra)
        self.assert_refused("https://other.example.com", extra=extra)

    def test_invalid_origins_are_refused(self) -> None:
        for origin in ("http://[::1", "http://a:99999", "http://a:b", "http://", "\0", "http:///"):
            self.assert_refused(origin)
            self.assert_refused("http://a", origin)
            self.assert_refused("http://a", extra=[origin])

    def test_a_refusal_has_both_origins(self) -> None:
        load_site()
        error = self.assertRaises(
            ConnectionDeny, check_host_and_origin, "x" * 1000, "http://localhost", False
        )
        self.assertEqual(400, error.code)
        self.assertIn(f"'{'x' * 100}…' is not in ALLOWED_HOSTS", error.reason)
        error = self.assertRaises(
            ConnectionDeny, check_host_and_origin, "localhost:80", "https://localhost", False
        )
        self.assertEqual(403, error.code)
        self.assertIn("'https://localhost'", error.reason)
        self.assertIn("'http://localhost:80'", error.reason)

    @given(st.text(max_size=30), st.text(max_size=30), st.booleans())
    def test_any_text(self, origin: str, host: str, secure: bool) -> None:
        is_allowed(origin, host, secure, [origin])
        is_allowed(f"http://{origin}", host, secure)
