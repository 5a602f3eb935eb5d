"""``manage.py publish TOPIC MESSAGE`` sends a message to all subscribers of a topic."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cluster.core.exceptions import ClusterError


class Command(BaseCommand):
    """Publishes through the running cluster. The exit status is 0 only if a node took the message,
    whatever C10K["PUBLISH_WITHOUT_CLUSTER"] says."""

    help = (
        "Publishes a message to all subscribers of a topic, through your running cluster"
        " (twistd c10k or manage.py runserver), and prints the receipt."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("topic", help="its name, such as live")
        parser.add_argument("message", help="its text; - reads it from standard input")
        parser.add_argument(
            "--lines",
            action="store_true",
            help="with -: publish each line when it arrives, without its line break",
        )
        parser.add_argument(
            "--binary", action="store_true", help="send a binary message instead of text"
        )
        parser.add_argument(
            "--retain",
            type=int,
            metavar="N",
            help="retain the topic's newest N messages for later subscribers (0: not even this one)"
            " [default: from C10K['TOPICS']]",
        )
        parser.add_argument(
            "--expire",
            type=float,
            metavar="SECONDS",
            help="how long it is retained [default: from C10K['TOPICS']]",
        )
        parser.add_argument(
            "--json", action="store_true", help="print each receipt as one line of JSON"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from cluster.django.api import publishing
        from cluster.django.api.payloads import as_frame, as_public_topic
        from cluster.django.api.publication import Publication

        if options["lines"] and options["message"] != "-":
            raise CommandError("--lines reads standard input: give - for the message")
        try:
            topic = as_public_topic(options["topic"])
            kept = publishing.how_kept(topic, options["retain"], options["expire"])
            for message in _messages(options["message"], options["lines"]):
                frame = as_frame(message if options["binary"] else _text(message))
                receipt = publishing.publish_or_raise(Publication(topic, frame, kept))
                nodes, connections = receipt.nodes, receipt.connections_here
                if options["json"]:
                    counts = {"nodes": nodes, "connections_here": connections}
                    self.stdout.write(json.dumps(counts))
                else:
                    self.stdout.write(_sentence(nodes, connections))
                self.stdout.flush()
        except (ClusterError, ValueError) as error:
            raise CommandError(str(error)) from error


def _messages(argument: str, lines: bool) -> Iterator[bytes]:
    if argument != "-":
        yield argument.encode("utf-8", "surrogateescape")  # as it was in the command line
    elif lines:
        for line in sys.stdin.buffer:
            yield line.rstrip(b"\r\n")
    else:
        yield sys.stdin.buffer.read()


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise CommandError("the message is not UTF-8: send it with --binary") from None


def _sentence(nodes: int, connections_here: int) -> str:
    """The receipt in words. It counts the connections of one node, so all of them are known only
    if that is the only node with subscribers."""
    if not nodes:
        return "No subscribers"
    where = _count(nodes, "node")
    if nodes == 1 and connections_here:
        return f"Delivered to {_count(connections_here, 'subscriber')} on {where}"
    return f"Delivered to subscribers on {where}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
