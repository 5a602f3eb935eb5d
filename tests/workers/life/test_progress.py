import io

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from workers.life.progress import Bar, Counts, Lines, Silence, for_stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class LinesTests(SynchronousTestCase):
    def test_a_line_is_printed_each_second(self) -> None:
        clock, stream = Clock(), io.StringIO()
        lines = Lines(stream, clock.seconds, cells=1024, last=50)
        for now, running in (
            (Counts(0, 0), False),
            (Counts(1000, 10), False),
            (Counts(1024, 700), False),
            (Counts(1024, 1024, 3), True),
            (Counts(1024, 1024, 13), True),
        ):
            lines.show(now, running)
            clock.advance(0.5)
            lines.show(now, running)
            clock.advance(0.5)
        lines.end()
        self.assertEqual(
            stream.getvalue().splitlines(),
            [
                "connected 0 of 1,024 cells",
                "connected 1,000 of 1,024 cells",
                "subscribed 700 of 1,024 cells",
                "step 3 of 50, 0.0 steps/s",
                "step 13 of 50, 10.0 steps/s",
            ],
        )


class BarTests(SynchronousTestCase):
    def test_the_same_text(self) -> None:
        stream = Terminal()
        bar = Bar(stream, Clock().seconds, cells=9, last=4)
        bar.show(Counts(3, 0), False)
        bar.show(Counts(9, 9, 2), True)
        bar.end()
        self.assertIn("connected 3 of 9 cells", stream.getvalue())
        self.assertIn("step 2 of 4, 0.0 steps/s", stream.getvalue())

    def test_without_a_last_step_there_is_no_total(self) -> None:
        bar = Bar(Terminal(), Clock().seconds, cells=9, last=None)
        bar.show(Counts(9, 9, 2), True)
        (task,) = bar._progress.tasks
        self.assertEqual((task.description, task.total), ("running", None))
        bar.end()


class ChoiceTests(SynchronousTestCase):
    def test_by_stream(self) -> None:
        seconds = Clock().seconds
        self.assertIsInstance(for_stream(Terminal(), seconds, 9, None, silent=True), Silence)
        self.assertIsInstance(for_stream(io.StringIO(), seconds, 9, None, silent=False), Lines)
        bar = for_stream(Terminal(), seconds, 9, None, silent=False)
        bar.end()
        self.assertIsInstance(bar, Bar)
