"""The subcommands' options, and what they say of what they have seen."""

import argparse
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.connection.failure_reasons import hint
from workers.life import command as life_command
from workers.load import broadcast_command, echo_command, idle_command, storm_command
from workers.load.echo_command import peak_reached, why_missed
from workers.reporting.latency import Latencies
from workers.reporting.summary import failures_of, milliseconds, times_line

COMMANDS: dict[str, Any] = {
    "echo": echo_command,
    "idle": idle_command,
    "storm": storm_command,
    "broadcast": broadcast_command,
}
REFERENCE = Path(__file__).resolve().parents[3] / "docs/reference/swarm.md"


def parser_of(command: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser


class OptionTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        options = vars(parser_of(echo_command).parse_args([]))
        self.assertEqual((options["clients"], options["delay"]), (10_000, 60.0))
        options = vars(parser_of(broadcast_command).parse_args([]))
        self.assertEqual((options["subscribers"], options["publishers"]), (1000, 1))
        self.assertEqual((options["rate"], options["seconds"]), (100.0, 10.0))
        options = vars(parser_of(storm_command).parse_args([]))
        self.assertEqual((options["within"], options["jitter"]), (60.0, 0.0))

    def test_bad_usage(self) -> None:
        for command, words in (
            (echo_command, "--clients 0"),
            (echo_command, "--clients 1.5"),
            (echo_command, "--delay nan"),
            (echo_command, "--timeout soon"),
            (idle_command, "--path echo"),
            (idle_command, "--pids 1,-2"),
            (life_command, "--size 1001"),
            (echo_command, "--delay -1"),
            (echo_command, "--timeout 0"),
            (idle_command, "--pids x"),
            (storm_command, "--within 0"),
            (broadcast_command, "--rate 0"),
            (broadcast_command, "--topic a/b"),
        ):
            parser = parser_of(command)
            said: list[str] = []
            self.patch(parser, "print_usage", lambda *_: None)
            self.patch(parser, "exit", lambda status, text, said=said: said.append(text))
            parser.parse_args(words.split())
            self.assertIn(words.split()[0], said[0])
            self.assertIn("must be", said[0])

    def test_the_reference_tells_all(self) -> None:
        text = REFERENCE.read_text()
        for name, command in {**COMMANDS, "life": life_command}.items():
            section = text.partition(f"## `swarm {name}`")[2].partition("\n## ")[0]
            common = text.partition("## All of them")[2].partition("\n## ")[0]
            if command is not life_command:
                section += common
            told = dict(re.findall(r"^\| `(--[\w-]+)`[^|]* \| ([^|]*) \|", section, re.M))
            actions = [a for a in parser_of(command)._actions if a.dest != "help"]
            self.assertEqual(set(told), {action.option_strings[-1] for action in actions}, name)
            for action in actions:
                if action.default not in (None, False):
                    default = told[action.option_strings[-1]].strip().strip("`")
                    wanted = action.default
                    self.assertEqual(default, f"{wanted:g}" if wanted != str(wanted) else wanted)


class PeakTests(SynchronousTestCase):
    def report(self, full_at: float | None, first_end: float | None) -> dict[str, Any]:
        return {"full_at": full_at, "first_end": first_end}

    def test_all_full_before_the_first_end(self) -> None:
        self.assertTrue(peak_reached([self.report(10, 15), self.report(11, 14)]))
        self.assertTrue(peak_reached([self.report(10, None)]))

    def test_one_full_too_late_or_never(self) -> None:
        self.assertFalse(peak_reached([self.report(10, 11), self.report(12, 13)]))
        self.assertFalse(peak_reached([self.report(10, 15), self.report(None, 14)]))
        self.assertFalse(peak_reached([]))

    def test_why(self) -> None:
        self.assertEqual(why_missed(12, 20, 5, 0.9, 1), "12 failed")
        slow = why_missed(0, 20, 5, busy=0.5, processes=1)
        self.assertIn("connecting took 20.0 s, but the first clients ended after 15 s", slow)
        self.assertIn("use --delay 12, or a server with more --nodes", slow)
        self.assertIn("--processes 2", why_missed(0, 20, 5, busy=0.95, processes=1))


class WordsTests(SynchronousTestCase):
    def test_times(self) -> None:
        times = Latencies()
        times.add([0.001] * 98 + [0.1, 2.0])
        figures = milliseconds(times, 50, 99, 99.9, 100)
        self.assertEqual(list(figures), ["p50", "p99", "p99.9", "max"])
        assert figures["max"] is not None
        self.assertTrue(2000 <= figures["max"] <= 2064)
        self.assertEqual(
            times_line("x", {"p50": 1.234, "max": 2000}), "x: p50 1.2 ms, max 2,000.0 ms"
        )
        self.assertEqual(times_line("x", milliseconds(Latencies(), 50)), "x: nothing to measure")

    def test_failures(self) -> None:
        lines = failures_of([{"failures": {"odd": 1}}, {"failures": {"connection refused": 2}}])
        self.assertEqual(lines[1], "1 time odd")
        self.assertTrue(lines[0].startswith("2 times connection refused; is the server running"))
        self.assertEqual(hint("odd"), "")
