"""The c10k command: its parser, exit statuses and error messages."""

import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.console import logs, restart
from cluster.cli.console.main import main


class MainTests(SynchronousTestCase):
    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        """Returns the exit status, standard output and standard error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main(arguments)
            except SystemExit as end:
                assert isinstance(end.code, int)
                status = end.code
        return status, out.getvalue(), err.getvalue()

    def test_help_names_the_commands(self) -> None:
        status, out, _ = self.run_command("--help")
        self.assertEqual(status, 0)
        self.assertIn("keygen", out)

    def test_a_command_is_needed(self) -> None:
        for arguments in ((), ("nonsense",)):
            status, _, err = self.run_command(*arguments)
            self.assertEqual(status, 2)
            self.assertIn("COMMAND", err)

    def test_keygen(self) -> None:
        with TemporaryDirectory() as folder:
            status, out, err = self.run_command("keygen", folder)
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(
                [Path(line).name for line in out.splitlines()],
                ["broker.key_secret", "broker.key", "node.key_secret", "node.key"],
            )
            status, out, err = self.run_command("keygen", folder)
            self.assertEqual((status, out), (1, ""))
            self.assertEqual(len(err.splitlines()), 1)
            self.assertIn(f"c10k: {folder}/broker.key_secret exists already", err)

    def test_ctrl_c_and_a_reader_that_has_ended_are_no_errors(self) -> None:
        for error, expected in ((KeyboardInterrupt(), 130), (BrokenPipeError(), 141)):
            self.patch(restart, "ask", raising(error))
            status, out, err = self.run_command("restart")
            self.assertEqual((status, out, err), (expected, "", ""))

    def test_events_of_which_none_are_wanted(self) -> None:
        """With --follow only new ones are printed."""
        event = {
            "number": 7, "time": 0, "level": "info", "process": "", "text": "begun", "count": 1,
        }  # fmt: skip
        answers = [{"events": [event]}, {"events": [{**event, "number": 8, "text": "new"}, event]}]
        self.patch(logs, "ask", lambda arguments, what: answers.pop(0))
        self.patch(logs.time, "sleep", lambda seconds: None if answers else raising_ctrl_c())
        status, out, _ = self.run_command("events", "-f", "-n", "0")
        self.assertEqual(status, 0)
        self.assertIn("new", out)
        self.assertNotIn("begun", out)


def raising(error: BaseException) -> Any:
    """Returns a function that raises an exception."""

    def fail(*arguments: object) -> None:
        raise error

    return fail


raising_ctrl_c = raising(KeyboardInterrupt())
