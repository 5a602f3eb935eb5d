"""The options of all subcommands, and the reference that lists them."""

import argparse
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.life import command as life_command
from workers.load import broadcast_command, echo_command, idle_command, storm_command

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

    def test_wrong_usage(self) -> None:
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

    def test_the_reference_lists_all(self) -> None:
        text = REFERENCE.read_text()
        for name, command in {**COMMANDS, "life": life_command}.items():
            section = text.partition(f"## `swarm {name}`")[2].partition("\n## ")[0]
            common = text.partition("## Common options")[2].partition("\n## ")[0]
            if command is not life_command:
                section += common
            listed = dict(re.findall(r"^\| `(--[\w-]+)`[^|]* \| ([^|]*) \|", section, re.M))
            actions = [a for a in parser_of(command)._actions if a.dest != "help"]
            self.assertEqual(set(listed), {action.option_strings[-1] for action in actions}, name)
            for action in actions:
                if action.default not in (None, False):
                    default = listed[action.option_strings[-1]].strip().strip("`")
                    wanted = action.default
                    self.assertEqual(default, f"{wanted:g}" if wanted != str(wanted) else wanted)
