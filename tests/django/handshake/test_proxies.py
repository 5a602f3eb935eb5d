"""What a trusted proxy says of the client."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handshake.proxies import forwarded


class ForwardedTests(SynchronousTestCase):
    def said(self, *lines: bytes) -> tuple[str | None, bool]:
        return forwarded(b"\r\n".join((b"GET / HTTP/1.1", *lines, b"", b"")))

    def test_nothing(self) -> None:
        self.assertEqual(self.said(b"Host: a"), (None, False))

    def test_the_last_address_is_the_one_the_proxy_saw(self) -> None:
        self.assertEqual(self.said(b"X-Forwarded-For: 1.2.3.4, 192.0.2.7"), ("192.0.2.7", False))
        self.assertEqual(
            self.said(b"X-Forwarded-For: 1.2.3.4", b"x-forwarded-for: 2001:db8::1"),
            ("2001:db8::1", False),
        )

    def test_no_address(self) -> None:
        for value in (b"", b"unknown", b"1.2.3.4, x", b"1.2.3.4:80", b"\xff"):
            self.assertEqual(self.said(b"X-Forwarded-For: " + value), (None, False), value)

    def test_scheme(self) -> None:
        self.assertEqual(self.said(b"X-Forwarded-Proto:  HTTPS "), (None, True))
        self.assertEqual(self.said(b"X-Forwarded-Proto: http"), (None, False))

    def test_other_line_ends_hide_no_header(self) -> None:
        for end in (b"\x85", b"\x0b", b"\x1c", b"\n", b"\r"):
            hidden = b"User-Agent: x" + end + b"X-Forwarded-For: 1.2.3.4"
            self.assertEqual(self.said(hidden), (None, False), end)

    def test_underscores_are_another_header(self) -> None:
        self.assertEqual(self.said(b"X_Forwarded_For: 1.2.3.4"), (None, False))
