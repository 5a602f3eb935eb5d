"""Why a client failed, in the user's words, and what may be done about it."""

import re

HINTS = {
    "connection refused": "is the server running, and is --url right?",
    "no answer in time": "the server is too slow for so many at once: give it more --nodes, or "
    "give it time with --timeout",
    "connection lost": "the server's log says more; it may be out of open files (ulimit -n)",
    "handshake refused: 503": "the server is starting, stopping or overloaded",
    "handshake refused: 404": "the server has nothing at this path",
}


def why_not_opened(reason: str) -> str:
    """Autobahn's words for a handshake that failed, without what is around them."""
    if refused := re.search(r"upgrade failed \[(\d+)\]: ([^)]*)", reason):
        return f"handshake refused: {refused[1]} {refused[2]}"
    if not reason or "without previous WebSocket closing handshake" in reason:
        return "connection lost during the handshake"
    return f"handshake failed: {reason}"


def why_closed(code: int, reason: str) -> str:
    """A reason for a connection that ended though nobody here wanted that."""
    if code == 1006:
        return "connection lost (1006)"
    return f"closed by the server: {code}{f' {reason}' if reason else ''}"


def hint(reason: str) -> str:
    """What to do about it, if anything is known."""
    for known, what in HINTS.items():
        if reason.startswith(known):
            return f"; {what}"
    return ""
