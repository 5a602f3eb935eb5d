"""What a session of Engine.IO decides, and its caller does: see engine_session."""

from dataclasses import dataclass

Packets = tuple[tuple[bytes, bool], ...]
"""Whole text packets and False, or binary data and True."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give a message to the application."""

    payload: bytes
    is_binary: bool


@dataclass(frozen=True, slots=True)
class AnswerPoll:
    """Answer the GET that waits."""

    packets: Packets


@dataclass(frozen=True, slots=True)
class RefusePoll:
    """Answer the GET that has just come with 400."""


@dataclass(frozen=True, slots=True)
class RefusePost:
    """Answer the POST that has just come with 400."""


@dataclass(frozen=True, slots=True)
class SendOnWebSocket:
    """Send packets on the session's WebSocket, each as a message."""

    packets: Packets


@dataclass(frozen=True, slots=True)
class SendOnProbe:
    """Send packets on the WebSocket that probes."""

    packets: Packets


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The WebSocket that probed is the session's from now on."""


@dataclass(frozen=True, slots=True)
class CloseProbe:
    """Close the WebSocket that probes."""


@dataclass(frozen=True, slots=True)
class CloseWebSocket:
    """Close the session's WebSocket."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The session has ended.

    ``unsent`` has the last packets for the client's next GET; ``lost`` is the number of packets
    that waited and are dropped.
    """

    reason: str
    unsent: Packets = ()
    lost: int = 0


Decision = (
    Deliver
    | AnswerPoll
    | RefusePoll
    | RefusePost
    | SendOnWebSocket
    | SendOnProbe
    | Upgraded
    | CloseProbe
    | CloseWebSocket
    | Closed
)
