import io

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.reporting.status_line import StatusLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class StatusLineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def show_all(self, status: StatusLine) -> None:
        for opened in range(0, 3000, 125):
            status.show({"connecting": 3000 - opened, "open": opened, "opened": opened})
            self.clock.advance(0.125)

    def test_a_file_receives_a_line_each_second(self) -> None:
        file = io.StringIO()
        status = StatusLine(file, self.clock.seconds, silent=False)
        self.show_all(status)
        status.say("3000 clients are connected!")
        self.assertEqual(
            file.getvalue().splitlines(),
            [
                "connecting 3,000, open 0; 0 connects/s",
                "connecting 2,000, open 1,000; 1,000 connects/s",
                "connecting 1,000, open 2,000; 1,000 connects/s",
                "3000 clients are connected!",
            ],
        )

    def test_a_terminal_receives_one_line_that_changes(self) -> None:
        terminal = Terminal()
        status = StatusLine(terminal, self.clock.seconds, silent=False)
        self.show_all(status)
        shown = terminal.getvalue()
        self.assertGreater(shown.count("\r\x1b[K"), 20)
        self.assertNotIn("\n", shown)
        status.say("all are back")
        status.end()
        self.assertTrue(terminal.getvalue().endswith("\r\x1b[Kall are back\n"))

    def test_a_silent_status_line_prints_nothing(self) -> None:
        terminal = Terminal()
        status = StatusLine(terminal, self.clock.seconds, silent=True)
        self.show_all(status)
        status.say("x")
        status.end()
        self.assertEqual(terminal.getvalue(), "")
