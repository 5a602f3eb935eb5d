"""The options of a server, and the parameters with which a request asks for them:
``?EIO=4&transport=polling&sid=…``, checked in the reference server's order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

from cluster.core.socketio.engine_session import POLLING, WEBSOCKET
from cluster.socketio.engine.errors import UNKNOWN_TRANSPORT, UNSUPPORTED_VERSION, refused

VERSION = "4"
"""The revision of the protocol."""

MAX_QUERY_FIELDS = 64
"""Parameters that are looked at; the application's own may be among them."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the sessions of a server are kept. The client receives most of it with the handshake.

    Attributes:
        ping_interval: Seconds between the answer to a ping and the next ping.
        ping_timeout: Seconds that a client has to answer a ping.
        upgrade_timeout: Seconds that a client has to change its transport.
        max_payload: Bytes of the largest message over WebSocket, and of the body of a POST.
        transports: The transports that are offered: "polling" and "websocket".
        allow_upgrades: Whether sessions over polling may change to WebSocket.

    Raises:
        ValueError: A transport is not known, or a number is not positive.
    """

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    upgrade_timeout: float = 10.0
    max_payload: int = 1_000_000
    transports: tuple[str, ...] = (POLLING, WEBSOCKET)
    allow_upgrades: bool = True

    def __post_init__(self) -> None:
        for name in ("ping_interval", "ping_timeout", "upgrade_timeout", "max_payload"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than 0, not {getattr(self, name)!r}")
        if not self.transports or set(self.transports) - {POLLING, WEBSOCKET}:
            raise ValueError(
                f'transports must be "polling", "websocket" or both, not {self.transports!r}'
            )

    def upgrades_from(self, transport: str) -> tuple[str, ...]:
        """The transports to which a session may change."""
        if transport == POLLING and self.allow_upgrades and WEBSOCKET in self.transports:
            return (WEBSOCKET,)
        return ()


class Query(NamedTuple):
    """The parameters of one request; empty where the client sent none."""

    version: str
    transport: str
    sid: str

    def check(self, transports: Sequence[str]) -> None:
        """Check the mandatory parameters.

        Args:
            transports: The transports that the server offers.

        Raises:
            Refusal: The transport or the revision of the protocol is unknown or missing.
        """
        if self.transport not in transports:
            raise refused(UNKNOWN_TRANSPORT)
        if self.version != VERSION:
            raise refused(UNSUPPORTED_VERSION)


def query_of(uri: bytes) -> Query:
    """The parameters of a twisted.web request, by its URI. Of equal ones the last counts."""
    fields = uri.partition(b"?")[2].split(b"&", MAX_QUERY_FIELDS)[:MAX_QUERY_FIELDS]
    given = dict(parse_qsl(b"&".join(fields).decode("latin-1"), keep_blank_values=True))
    return Query(given.get("EIO", ""), given.get("transport", ""), given.get("sid", ""))


def query_of_handshake(parameters: Mapping[str, Sequence[str]]) -> Query:
    """The parameters of a WebSocket's opening handshake."""

    def last(name: str) -> str:
        values = parameters.get(name)
        return values[-1] if values else ""

    return Query(last("EIO"), last("transport"), last("sid"))
