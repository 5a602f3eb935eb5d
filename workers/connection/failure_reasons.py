"""The reasons why a client failed, and what to do about them, as texts for the user."""

import errno
import re

from twisted.internet import error as errors

HINTS = {
    "connection refused": "is the server running, and is --url right?",
    "no answer in time": "the server is too slow for so many connections at once: give it more "
    "--nodes, or give it time with --timeout",
    "connection lost": "the server's log says more; it may be out of open files (ulimit -n)",
    "handshake refused: 503": "the server is starting, stopping or overloaded",
    "handshake refused: 404": "the server has nothing at this path",
}
"""Beginning of a reason -> hint."""


def why_not_connected(error: BaseException | None) -> str:
    """Return why a TCP connection could not be opened, from Twisted's exception."""
    if isinstance(error, errors.ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, errors.TimeoutError):
        return "no answer in time"
    if isinstance(error, errors.ConnectError) and error.osError == errno.EMFILE:
        return "too many open files in this process; use more --processes"
    return str(error)


def why_not_opened(reason: str) -> str:
    """Return why a WebSocket handshake failed, from Autobahn's text."""
    if refused := re.search(r"upgrade failed \[(\d+)\]: ([^)]*)", reason):
        return f"handshake refused: {refused[1]} {refused[2]}"
    if not reason or "without previous WebSocket closing handshake" in reason:
        return "connection lost during the handshake"
    return f"handshake failed: {reason}"


def why_closed(code: int, reason: str) -> str:
    """Return why an open connection ended although the swarm did not close it."""
    if code == 1006:
        return "connection lost (1006)"
    return f"closed by the server: {code}{f' {reason}' if reason else ''}"


def hint(reason: str) -> str:
    """Return what the user can do about a reason, to append to it; may be empty."""
    for beginning, advice in HINTS.items():
        if reason.startswith(beginning):
            return f"; {advice}"
    return ""
