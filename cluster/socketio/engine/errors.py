"""The answers to requests that Engine.IO refuses, as the reference server gives them.

::

    HTTP/1.1 400 Bad Request
    Content-Type: application/json

    {"code":1,"message":"Session ID unknown"}

A client that receives one of them begins a new session. The same texts answer the
handshake of a WebSocket.

A session that ends has one of the reference server's reasons for it.
"""

import json

from autobahn.websocket.types import ConnectionDeny

from cluster.net.websocket.refusal import Refusal
from cluster.socketio.engine.registry import sessions

UNKNOWN_TRANSPORT, UNKNOWN_SID, BAD_METHOD, BAD_REQUEST, FORBIDDEN, UNSUPPORTED_VERSION = range(6)

MESSAGES = (
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
)
"""The texts, by code."""

STATUS_BAD_REQUEST = 400
STATUS_FORBIDDEN = 403

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_POLICY = 1008
CLOSE_RESTART = 1012
CLOSE_TRY_AGAIN = 1013
CLOSE_REVOKED = 4401

FINAL = frozenset({CLOSE_POLICY, CLOSE_REVOKED})
"""Close codes of the server after which a client shall not connect again: of a logout, of a client
that sends too much, of an operator."""

FORCED_CLOSE = "forced close"
SHUTTING_DOWN = "server shutting down"
TRANSPORT_ERROR = "transport error"

REASONS = {
    CLOSE_GOING_AWAY: SHUTTING_DOWN,
    CLOSE_RESTART: SHUTTING_DOWN,
    CLOSE_TRY_AGAIN: TRANSPORT_ERROR,
}
"""The reasons for the application, by the close code of the server; FORCED_CLOSE otherwise."""

_JSON = (("Content-Type", "application/json"),)


def body_of(code: int, message: str = "") -> bytes:
    """The body of an answer.

    Args:
        code: One of the codes of this module.
        message: The text; empty for the usual one.
    """
    return json.dumps(
        {"code": code, "message": message or MESSAGES[code]}, separators=(",", ":")
    ).encode()


def refused(code: int, message: str = "") -> Refusal:
    """The refusal of a request that is wrong; it is counted.

    Args:
        code: One of the codes of this module.
        message: The text; empty for the usual one.
    """
    sessions.count_refused(code)
    status = STATUS_FORBIDDEN if code == FORBIDDEN else STATUS_BAD_REQUEST
    return Refusal(status, MESSAGES[code], _JSON, body_of(code, message))


def in_json(denied: ConnectionDeny) -> Refusal:
    """The refusal of a client by its admission, in the form of Engine.IO; it is counted.

    Args:
        denied: The refusal: 403, or another one, such as 429 or 503.
    """
    status, reason = denied.code, denied.reason or "refused"
    sessions.count_refused(status)
    headers = (*getattr(denied, "headers", ()), *_JSON)
    if status == STATUS_FORBIDDEN:
        return Refusal(status, reason, headers, body_of(FORBIDDEN))
    return Refusal(status, reason, headers, body_of(BAD_REQUEST, reason))
