"""The session ids of Engine.IO: which process has made one, and which one a request has.

A session id has SIZE characters of A-Z, a-z, 0-9, "-" and "_". The first TOKEN_SIZE are the token
of the process, which is random, so that a node and its replacement differ.
"""

import os
import re
import secrets
from functools import cache

SIZE = 20
TOKEN_SIZE = 6

_SESSION_ID = re.compile(rb"[A-Za-z0-9_-]{%d}" % SIZE)

# Of several parameters with one name, the last counts, as in Django's QueryDict.
_PARAMETER = re.compile(rb"(?:^|&)(EIO|sid)=([^&]*)")


def token_of_this_process() -> str:
    """The token with which all session ids of this process begin."""
    return _token_of(os.getpid())


@cache
def _token_of(pid: int) -> str:  # a forked process needs a token of its own
    return new_token()


def new_token() -> str:
    """A random token."""
    return secrets.token_urlsafe(TOKEN_SIZE)[:TOKEN_SIZE]


def session_id_of(target: bytes) -> str | None:
    """The session id of a request.

    Args:
        target: The request target (RFC 9112, section 3.2), such as ``/socket.io/?EIO=4&sid=…``.

    Returns:
        The session id; None if the request is not one of Engine.IO, or has no valid one.
    """
    query = target.partition(b"?")[2].partition(b"#")[0]
    parameters: dict[bytes, bytes] = dict(_PARAMETER.findall(query))
    sid = parameters.get(b"sid", b"")
    if b"EIO" not in parameters or not _SESSION_ID.fullmatch(sid):
        return None
    return sid.decode("ascii")


def target_of(header: bytes) -> bytes:
    """The request target in the header of a request; empty if there is none."""
    words = header[: header.find(b"\r\n")].split(b" ")
    return words[1] if len(words) == 3 else b""
