"""The client's address and scheme in the headers of a trusted proxy."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handshake.proxies import forwarded


class ForwardedTests(SynchronousTestCase):
    def read(self, *lines: bytes) -> tuple[str | None, bool]:
        return forwarded(b"\r\n".join((b"GET / HTTP/1.1", *lines, b"", b"")))

    def test_no_headers(self) -> None:
        self.assertEqual(self.read(b"Host: a"), (None, False))

    def test_the_last_address_is_the_one_the_proxy_saw(self) -> None:
        self.assertEqual(self.read(b"X-Forwarded-For: 1.2.3.4, 192.0.2.7"), ("192.0.2.7", False))
        self.assertEqual(
            self.read(b"X-Forwarded-For: 1.2.3.4", b"x-forwarded-for: 2001:db8::1"),
            ("2001:db8::1", False),
        )

    def test_invalid_addresses(self) -> None:
        for value in (b"", b"unknown", b"1.2.3.4, x", b"1.2.3.4:80", b"\xff"):
            self.assertEqual(self.read(b"X-Forwarded-For: " + value), (None, False), value)

    def test_scheme(self) -> None:
        self.assertEqual(self.read(b"X-Forwarded-Proto:  HTTPS "), (None, True))
        self.assertEqual(self.read(b"X-Forwarded-Proto: http"), (None, False))

    def test_other_line_ends_do_not_add_headers(self) -> None:
        for end in (b"\x85", b"\x0b", b"\x1c", b"\n", b"\r"):
            hidden = b"User-Agent: x" + end + b"X-Forwarded-For: 1.2.3.4"
            self.assertEqual(self.read(hidden), (None, False), end)

    def test_a_header_with_underscores_is_another_header(self) -> None:
        self.assertEqual(self.read(b"X_Forwarded_For: 1.2.3.4"), (None, False))
