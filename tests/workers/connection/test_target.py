"""Base URLs."""

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.trial.unittest import TestCase

from workers.connection.target import BadURL, Target, resolve

reactor: Any = _reactor


class ResolveTests(TestCase):
    async def test_base_urls_are_resolved(self) -> None:
        for url, expected in {
            "ws://127.0.0.1:8000": Target("ws://127.0.0.1:8000", "127.0.0.1", 8000),
            "ws://127.0.0.1:8000/": Target("ws://127.0.0.1:8000", "127.0.0.1", 8000),
            "127.0.0.1:81/life/": Target("ws://127.0.0.1:81/life", "127.0.0.1", 81),
            "ws://[::1]": Target("ws://[::1]", "::1", 80),
        }.items():
            self.assertEqual(await resolve(reactor, url), expected)

    async def test_invalid_urls_are_refused(self) -> None:
        for url in (
            "http://127.0.0.1",
            "wss://127.0.0.1",
            "ws://",
            "ws://127.0.0.1:x",
            "ws://h?a=b",
            "ws://[::1",
            "ws://127.0.0.1/a b",
            "",
        ):
            try:
                await resolve(reactor, url)
            except BadURL:
                continue
            self.fail(url)
