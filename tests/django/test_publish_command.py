"""manage.py publish: what it publishes and prints."""

import io
import json
import sys

from django.core.management import CommandError, call_command
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import NotPublished, NotRunning
from cluster.django.api import backends, topics
from cluster.django.api.history_settings import Kept
from cluster.django.api.payloads import as_message
from cluster.django.api.publication import Counts, Done, Publication
from cluster.net.websocket.frames import text_frame
from tests.django.site import load_site


class PublishCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()
        self.published: list[Publication] = []
        self.receipt = (2, 5)
        self.error: Exception | None = None
        self.patch(topics, "node", None)
        before = backends.install(self)
        self.addCleanup(backends.install, before)

    # The backend.

    def check(self) -> None:
        raise AssertionError("it publishes at once")

    def publish(self, publication: Publication) -> Counts:
        if self.error is not None:
            raise self.error
        self.published.append(publication)
        return self.receipt

    def publish_later(self, publication: Publication, done: Done) -> None:
        raise AssertionError("it publishes at once")

    def run_command(self, *arguments: str, stdin: bytes = b"") -> str:
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        out = io.StringIO()
        call_command("publish", *arguments, stdout=out)
        return out.getvalue()

    def test_text(self) -> None:
        output = self.run_command("live", "hello")
        self.assertEqual(
            self.published, [Publication(b"live", text_frame(b"hello"), Kept(50, 3_600_000))]
        )
        self.assertEqual(output, "Delivered to subscribers on 2 nodes\n")

    def test_kept(self) -> None:
        self.run_command("live", "hello", "--retain", "15", "--expire", "0.5")
        expected = Publication(b"live", text_frame(b"hello"), Kept(15, 500))
        self.assertEqual(self.published, [expected])

    def test_receipts(self) -> None:
        for receipt, words in {
            (1, 1): "Delivered to 1 subscriber on 1 node",
            (1, 3): "Delivered to 3 subscribers on 1 node",
            # Those of the other nodes are not counted.
            (2, 3): "Delivered to subscribers on 2 nodes",
            (1, 0): "Delivered to subscribers on 1 node",
            (0, 0): "No subscribers",
        }.items():
            self.receipt = receipt
            self.assertEqual(self.run_command("live", "hello"), f"{words}\n")
        self.receipt = (2, 5)
        output = self.run_command("live", "hello", "--json")
        self.assertEqual(json.loads(output), {"nodes": 2, "connections_here": 5})

    def test_standard_input(self) -> None:
        self.run_command("live", "-", stdin="two\nlines é\n".encode())
        self.run_command("live", "-", "--lines", stdin=b"two\r\nlines\n")
        self.run_command("live", "-", "--binary", stdin=b"\xff\n")
        messages = [as_message(publication.frame) for publication in self.published]
        self.assertEqual(messages, ["two\nlines é\n", "two", "lines", b"\xff\n"])

    def test_usage_errors(self) -> None:
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
        for error in (NotRunning("no cluster"), NotPublished("refused")):
            self.error = error
            with self.assertRaises(CommandError) as raised:
                self.run_command("live", "hello")
            self.assertEqual(str(raised.exception), str(error))

    def test_bad_arguments(self) -> None:
        for arguments, because in (
            (("live", "hello", "--retain", "-1"), "retain is a number of messages"),
            (("live", "hello", "--expire", "0"), "expire is a number of seconds"),
            (("c10k/revocations", "hello"), "is reserved"),
        ):
            with self.assertRaises(CommandError) as raised:
                self.run_command(*arguments)
            self.assertIn(because, str(raised.exception))
        self.assertEqual(self.published, [])
