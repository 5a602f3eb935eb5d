"""manage.py publish: what it publishes, and what it says."""

import io
import json
import sys
from typing import Any

from django.core.management import CommandError, call_command
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import NotRunning
from cluster.core.wire_external import Receipt
from cluster.django.api import publishing
from tests.django.site import load_site


class PublishCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.published: list[tuple[Any, ...]] = []
        self.receipt = Receipt(2, 5)
        self.error: Exception | None = None
        self.patch(publishing, "publish", self.publish)

    def publish(self, topic: str, message: Any, **options: Any) -> Receipt:
        if self.error is not None:
            raise self.error
        self.assertIs(options.pop("immediate"), True)
        self.published.append((topic, message, options))
        return self.receipt

    def run_command(self, *arguments: str, stdin: bytes = b"") -> str:
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        out = io.StringIO()
        call_command("publish", *arguments, stdout=out)
        return out.getvalue()

    def test_text(self) -> None:
        said = self.run_command("live", "hello")
        self.assertEqual(self.published, [("live", "hello", {"retain": None, "expire": None})])
        self.assertEqual(said, "queued to 2 nodes, 5 connections of the one that took it\n")

    def test_kept(self) -> None:
        self.run_command("live", "hello", "--retain", "15", "--expire", "0.5")
        self.assertEqual(self.published, [("live", "hello", {"retain": 15, "expire": 0.5})])

    def test_receipts(self) -> None:
        self.receipt = Receipt(1, 1)
        self.assertIn("1 node, 1 connection of", self.run_command("live", "hello"))
        self.receipt = Receipt(2, 0)
        self.assertEqual(self.run_command("live", "hello"), "queued to 2 nodes\n")
        self.receipt = Receipt(0, 0)
        self.assertEqual(self.run_command("live", "hello"), "nobody is subscribed\n")
        said = self.run_command("live", "hello", "--json")
        self.assertEqual(json.loads(said), {"nodes": 0, "connections": 0})

    def test_standard_input(self) -> None:
        self.run_command("live", "-", stdin="two\nlines é\n".encode())
        self.run_command("live", "-", "--lines", stdin=b"two\r\nlines\n")
        self.run_command("live", "-", "--binary", stdin=b"\xff\n")
        messages = [message for _, message, _ in self.published]
        self.assertEqual(messages, ["two\nlines é\n", "two", "lines", b"\xff\n"])

    def test_mistakes(self) -> None:
        for arguments, because in (
            (("live", "hello", "--lines"), "give - for the message"),
            (("live", "-"), "not UTF-8: send it with --binary"),
            (("live",), "required: message"),
        ):
            with self.assertRaises(CommandError) as raised:
                self.run_command(*arguments, stdin=b"\xff")
            self.assertIn(because, str(raised.exception))
        self.assertEqual(self.published, [])

    def test_errors_are_one_line(self) -> None:
        for error in (NotRunning("no cluster"), ValueError("retain is a number")):
            self.error = error
            with self.assertRaises(CommandError) as raised:
                self.run_command("live", "hello")
            self.assertEqual(str(raised.exception), str(error))
