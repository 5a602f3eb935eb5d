"""The header of a response, as bytes that are sent in one piece."""

import time
from collections.abc import Sequence
from email.utils import formatdate

_date = (0, "")


def response_header(
    version: bytes, code: int, phrase: str, headers: Sequence[tuple[str, str]], is_last: bool
) -> bytes:
    """The header of a response, with a Date.

    Args:
        version: The version of HTTP, as in the request: ``HTTP/1.1``.
        code: The status.
        phrase: Its reason phrase.
        headers: Names and values. Control characters that would begin a new line are replaced.
        is_last: Whether the connection is closed after the response.
    """
    lines = [f"{version.decode('latin-1')} {code} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Date: {http_date()}")
    if is_last:
        lines.append("Connection: close")
    text = "\r\n".join(lines)
    if text.count("\n") >= len(lines) or text.count("\r") >= len(lines):
        text = "\r\n".join(line.replace("\r", " ").replace("\n", " ") for line in lines)
    return f"{text}\r\n\r\n".encode("latin-1")


def http_date() -> str:
    """The time, to the second, as in a Date header."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]
