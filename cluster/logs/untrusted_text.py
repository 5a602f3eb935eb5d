"""Escapes what must not reach a terminal or a log file: text that a client may have chosen.

A URI, a header, a close reason or a user name may contain terminal sequences, or a line end
followed by what looks like a line of the log (CWE-117).
"""

_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
"""C0, DEL and C1: the first has ESC and NUL, the last has the one-byte CSI."""

_LINES_AND_DIRECTIONS = (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Unicode's line separators, and the characters that reorder the text after them."""

_ESCAPES = {code: f"\\x{code:02x}" for code in _CONTROLS if code != ord("\t")} | {
    code: f"\\u{code:04x}" for code in _LINES_AND_DIRECTIONS
}
_ESCAPES_BUT_LINE_ENDS = {code: text for code, text in _ESCAPES.items() if code != ord("\n")}


class Block(str):
    """Text of several lines that is not a client's, such as a stack. Its line ends are kept."""

    __slots__ = ()


def escape(text: str) -> str:
    r"""Return text as one line: control characters, also line ends, as ``\x1b`` or ``\u2028``."""
    return text if text.isprintable() else text.translate(_ESCAPES)


def escape_block(text: str) -> str:
    """The same, but keep line ends."""
    return text if text.isprintable() else text.translate(_ESCAPES_BUT_LINE_ENDS)
