"""Tests of cluster.logs.untrusted_text."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import tests.profiles  # noqa: F401
from cluster.logs.untrusted_text import escape, escape_block


class EscapeTests(SynchronousTestCase):
    def test_control_characters_are_escaped(self) -> None:
        for text, escaped in (
            ("/\x1b[31mred", r"/\x1b[31mred"),
            ("a\0b", r"a\x00b"),
            ("a\r\n2026 [node0#info] forged", r"a\x0d\x0a2026 [node0#info] forged"),
            ("\x9b31m", r"\x9b31m"),
            ("\x7f\x85", r"\x7f\x85"),
            ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
        ):
            self.assertEqual(escape(text), escaped)

    def test_other_text_is_unchanged(self) -> None:
        for text in ("", "GET /caf\xe9/?q=1", "a\tb", "日本語 עברית", "C:\\x1b", "a\xa0b"):
            self.assertEqual(escape(text), text)

    def test_a_block_keeps_its_line_ends(self) -> None:
        self.assertEqual(escape_block("a\nb\x1b\r\n"), "a\nb\\x1b\\x0d\n")
        self.assertEqual(escape_block("plain"), "plain")

    @given(st.text())
    def test_nothing_is_left_that_controls_a_terminal_or_ends_a_line(self, text: str) -> None:
        escaped = escape(text)
        self.assertEqual(len(escaped.splitlines()), bool(escaped))
        left = {char for char in escaped if unicodedata.category(char) == "Cc"}
        self.assertLessEqual(left, {"\t"})
        self.assertEqual(escape(escaped), escaped)
