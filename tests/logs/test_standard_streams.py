"""Tests of cluster.logs.standard_streams."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.logs.standard_streams import MAX_LINE, LineSplitter, line_stream


class LineSplitterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.splitter = LineSplitter(self.lines.append)

    def test_lines_may_arrive_in_pieces(self) -> None:
        for piece in (b"one\ntw", b"o\n", b"\xe2\x82", b"\xac\n\nrest"):
            self.splitter.add(piece)
        self.assertEqual(self.lines, ["one", "two", "\u20ac", ""])
        self.splitter.finish()
        self.splitter.finish()
        self.assertEqual(self.lines[-1], "rest")
        self.assertEqual(len(self.lines), 5)

    def test_a_line_without_end_does_not_grow(self) -> None:
        for _ in range(10):
            self.splitter.add(b"x" * MAX_LINE)
        self.splitter.finish()
        self.assertEqual([len(line) for line in self.lines], [MAX_LINE] * 10)


class LineStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        self.stream = line_stream(7, self.lines.append)

    def test_prints_are_passed_on_by_line(self) -> None:
        print("one", "two", file=self.stream)
        print("a\nb", file=self.stream)
        print("half", end="", file=self.stream)
        self.assertEqual(self.lines, ["one two", "a", "b"])
        print(" done", file=self.stream)
        self.assertEqual(self.lines[-1], "half done")

    def test_any_text_and_bytes_can_be_written(self) -> None:
        print("caf\udce9 \u20ac", file=self.stream)
        self.stream.buffer.write(b"bytes\n")
        self.assertEqual(self.lines, ["caf\\udce9 \u20ac", "bytes"])

    def test_it_has_the_descriptor_and_is_no_terminal(self) -> None:
        self.assertEqual(self.stream.fileno(), 7)
        self.assertTrue(self.stream.writable())
        self.assertFalse(self.stream.isatty())
