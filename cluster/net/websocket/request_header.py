"""Checks the header of an opening request before Autobahn parses it.

Autobahn decodes the header as Latin-1 and splits it with ``str.splitlines``, which ends a line at
more characters than HTTP does. It also accepts folded lines, and spaces before the colon. Each of
these would let a client add a header that a proxy in front of this server would have removed, such
as ``X-Remote-User``. So a header that does not follow RFC 9112, section 5, is refused.

Two of those characters cannot be refused: in UTF-8, letters such as "Å" contain the bytes 0x85 and
0xA0, which are a line end and a space in Latin-1. ``hide_letters`` replaces these bytes before
Autobahn parses the header, and ``restore_letters`` restores them in the parsed values.
"""

import string

_LINE_ENDS = b"\r\n\x0b\x0c\x1c\x1d\x1e\x85"
"""The characters, other than CR LF, at which ``str.splitlines`` ends a line of Latin-1."""

_NAME = b"!#$%&'*+-.^_`|~" + string.digits.encode() + string.ascii_letters.encode()
"""The bytes allowed in a header's name (RFC 9110, section 5.6.2)."""

_VALUE = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
"""The bytes allowed in a header's value (RFC 9110, section 5.5)."""

# The replacements 0x01 and 0x02 are unambiguous, because _VALUE does not allow them.
_HIDE = bytes.maketrans(b"\x85\xa0", b"\x01\x02")
_RESTORE_BYTES = bytes.maketrans(b"\x01\x02", b"\x85\xa0")
_RESTORE = {1: "\x85", 2: "\xa0"}


def is_well_formed(head: bytes) -> bool:
    """Whether a request line and its header lines, without the empty line, are valid HTTP."""
    first, *fields = head.split(b"\r\n")
    if len(first.translate(None, _LINE_ENDS)) < len(first):
        return False
    for field in fields:
        name, colon, value = field.partition(b":")
        if not name or not colon or name.translate(None, _NAME) or value.translate(None, _VALUE):
            return False
    return True


def hide_letters(head: bytes) -> bytes:
    """Replace the bytes 0x85 and 0xA0 in the header lines, but not in the request line."""
    line = head.find(b"\r\n")
    return head if line < 0 else head[:line] + head[line:].translate(_HIDE)


def restore_letters(value: str) -> str:
    """Undo ``hide_letters`` in a header's value."""
    return value.translate(_RESTORE)


def restore_bytes(value: bytes) -> bytes:
    """Undo ``hide_letters`` in a header's value, as bytes."""
    return value.translate(_RESTORE_BYTES)
