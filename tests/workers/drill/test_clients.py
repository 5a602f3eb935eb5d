"""What all drills have: options, and what is reported of the clients."""

import argparse
import sys
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from tests.workers.drill.summaries import CLIENTS
from workers.drill.chat import Room
from workers.drill.clients import (
    Clients,
    Progress,
    add_drill_arguments,
    client_lines,
    parse_drill_arguments,
)
from workers.drill.feed import Feed
from workers.drill.game import Game


class ArgumentsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parser = argparse.ArgumentParser()
        add_drill_arguments(self.parser, size=8, steps=2.5, stall=3.0, clients=4)

    def test_defaults_are_used_and_shown(self) -> None:
        options = parse_drill_arguments(self.parser, [])
        self.assertEqual((options.size, options.rate, options.stall), (8, 2.5, 3))
        self.assertEqual((options.clients, options.messages), (4, 2))
        self.assertIn("steps a second at most (2.5)", self.parser.format_help())

    def test_a_seed_is_chosen_unless_it_is_given(self) -> None:
        self.assertIn(parse_drill_arguments(self.parser, []).seed, range(1 << 16))
        self.assertEqual(parse_drill_arguments(self.parser, ["--seed", "7"]).seed, 7)

    def test_without_messages_nothing_would_be_checked(self) -> None:
        self.patch(sys, "stderr", StringIO())
        self.assertRaises(SystemExit, parse_drill_arguments, self.parser, ["--messages", "0"])
        self.assertIn("--messages must be above 0", sys.stderr.getvalue())  # type: ignore[attr-defined]


class ProgressTests(SynchronousTestCase):
    def test_seconds_are_counted_from_the_beginning(self) -> None:
        self.patch(sys, "stderr", StringIO())
        progress = Progress()
        self.assertEqual(progress.seconds, 0)
        progress.say("starting")
        self.assertEqual(sys.stderr.getvalue(), "   0.0 s  starting\n")  # type: ignore[attr-defined]
        progress.begin()
        first = progress.seconds
        self.assertTrue(0 < first < progress.seconds)


class ClientsTests(SynchronousTestCase):
    def setUp(self) -> None:
        url = "http://127.0.0.1:1/"
        self.clients = Clients(
            Game(["ws://127.0.0.1:1/"], 4, 1, 1.0, 1.0, resume=True),
            Feed([url], 2, 1.0, list),
            Room(["ws://127.0.0.1:1/"], 2, 1.0, list),
        )

    def test_violations_of_all_are_reported(self) -> None:
        clients = self.clients
        for part, text in ((clients.game, "a"), (clients.feed, "b"), (clients.room, "c")):
            part.violations.append(text)
        self.assertEqual(clients.violations, ["a", "b", "c"])

    def test_the_summary_has_what_its_text_shows(self) -> None:
        summary = self.clients.summary(4)
        self.assertEqual(summary["life"]["size"], 4)
        self.assertIn("4×4", client_lines(summary)[0])

    def test_the_text(self) -> None:
        life, feed, chat = client_lines(CLIENTS)
        self.assertIn("1500 generations of 32×32 equal the oracle; 512 connections", life)
        self.assertIn("1200 boards of a watcher compared, longest time without one 2.1 s", life)
        self.assertEqual(
            feed,
            "feed: 1,000 messages confirmed, 2,000 received by 2 clients, which reconnected 3 "
            "times; 0 losses announced",
        )
        self.assertTrue(chat.endswith("0 losses announced, 2 lost in double faults"))
