"""``manage.py publish TOPIC MESSAGE``: one message to all subscribers, from a shell or a script."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cluster.core.exceptions import ClusterError


class Command(BaseCommand):
    """Publishes through the running cluster; the exit status is 0 only with a receipt."""

    help = (
        "Publishes a message to all subscribers of a topic, through your running cluster"
        " (twistd c10k or manage.py runserver), and prints the receipt."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("topic", help="its name, such as live")
        parser.add_argument("message", help="the text; - reads it from standard input")
        parser.add_argument(
            "--lines",
            action="store_true",
            help="with -: publish each line as it comes, without its line break",
        )
        parser.add_argument(
            "--binary", action="store_true", help="send a binary message instead of text"
        )
        parser.add_argument(
            "--retain",
            type=int,
            metavar="N",
            help="keep the topic's newest N messages for those who subscribe later"
            " (0: do not keep this one) [default: as C10K['TOPICS'] says]",
        )
        parser.add_argument(
            "--expire",
            type=float,
            metavar="SECONDS",
            help="how long it is kept [default: as C10K['TOPICS'] says]",
        )
        parser.add_argument(
            "--json", action="store_true", help="print each receipt as a line of JSON"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from cluster.django.api.publishing import publish

        if options["lines"] and options["message"] != "-":
            raise CommandError("--lines reads standard input: give - for the message")
        try:
            for message in _messages(options["message"], options["lines"]):
                receipt = publish(
                    options["topic"],
                    message if options["binary"] else _text(message),
                    retain=options["retain"],
                    expire=options["expire"],
                    immediate=True,
                )
                assert receipt is not None
                if options["json"]:
                    self.stdout.write(json.dumps(receipt._asdict()))
                else:
                    self.stdout.write(_sentence(receipt.nodes, receipt.connections))
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


def _sentence(nodes: int, connections: int) -> str:
    if not nodes:
        return "nobody is subscribed"
    said = f"queued to {nodes} node{'' if nodes == 1 else 's'}"
    if connections:  # 0 would read as if nobody got it
        plural = "" if connections == 1 else "s"
        said += f", {connections} connection{plural} of the one that took it"
    return said
