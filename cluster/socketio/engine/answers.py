"""Answers to the requests of long polling."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

from cluster.core.socketio.engine_packets import encode_payload
from cluster.net.websocket.refusal import Refusal
from cluster.socketio.engine.cors import Headers
from cluster.socketio.engine.errors import BAD_REQUEST, refused

_HEADERS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
_TEXT = (("Content-Type", "text/plain; charset=UTF-8"),)
_HTML = (("Content-Type", "text/html"),)


class Exchange(NamedTuple):
    """A request that has not been answered, and the headers of CORS for its answer."""

    request: Any
    cors: Headers


def answer_packets(exchange: Exchange, packets: Iterable[tuple[bytes, bool]]) -> None:
    """Answer a GET.

    Args:
        exchange: The request.
        packets: Engine.IO packets, as ``encode_payload`` takes them.
    """
    answer_payload(exchange, encode_payload(packets))


def answer_payload(exchange: Exchange, payload: bytes) -> None:
    """Answer a GET with encoded packets."""
    _answer(exchange, 200, "OK", _TEXT, payload)


def answer_ok(exchange: Exchange) -> None:
    """Answer a POST whose packets have been processed."""
    # The reference server's type, because some browsers offer text/plain for download.
    _answer(exchange, 200, "OK", _HTML, b"ok")


def answer_too_large(exchange: Exchange) -> None:
    """Answer a POST whose body has more bytes than the server accepts."""
    _answer(exchange, 413, "Content Too Large", _TEXT, b"")


def answer_bad_request(exchange: Exchange) -> None:
    """Answer a request that breaks the rules of its session, and count it."""
    answer_refusal(exchange, refused(BAD_REQUEST))


def answer_refusal(exchange: Exchange, denied: Refusal) -> None:
    """Answer with a refusal.

    Args:
        exchange: The request.
        denied: The refusal, with its body.
    """
    try:
        phrase = HTTPStatus(denied.code).phrase
    except ValueError:
        phrase = "Refused"
    _answer(exchange, denied.code, phrase, denied.headers, denied.body or b"")


def answer_preflight(exchange: Exchange) -> None:
    """Answer a preflight that is allowed."""
    _answer(exchange, 204, "No Content", (), None)


def _answer(
    exchange: Exchange,
    status: int,
    phrase: str,
    headers: Iterable[tuple[str, str]],
    body: bytes | None,
) -> None:
    request, cors = exchange
    if request.is_gone:
        return
    complete = [*headers, *_HEADERS, *cors]
    if body is not None:
        complete.append(("Content-Length", str(len(body))))
    request.answer(status, phrase, complete, body or b"")
