"""Checks and publishes the publications of external publishers (core.wire.external_publisher)."""

from typing import Protocol

from twisted.logger import Logger

from cluster.core.exceptions import NotPublished
from cluster.core.wire.external_publisher import Accepted, ExternalMessage, Publish, Rejection
from cluster.django.api.payloads import ONE_NODE
from cluster.logs.rate_limit import LimitedLog
from cluster.net.websocket.frames import (
    BINARY,
    TEXT,
    binary_frame,
    frame_payload,
    is_utf8,
    text_frame,
)


class Publishes(Protocol):
    """The methods of PubSub that external publications need."""

    @property
    def full(self) -> bool:
        """Whether publishers must pause."""

    def publish(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """Queue a frame to all subscribers; returns (nodes, connections of this node)."""

    def publish_here(self, topic: bytes, frame: bytes) -> tuple[int, int]:
        """The same, to the subscribers of this node only."""

    def publish_retained(
        self, topic: bytes, frame: bytes, depth: int, lifetime: int
    ) -> tuple[int, int]:
        """The same for a frame that the topic retains."""


_log_refused = LimitedLog(Logger().warn, "publications of external publishers refused")


def log_refused(reason: str) -> None:
    """Log why a publication was refused."""
    _log_refused("", "a publication of an external publisher was refused: {reason}", reason=reason)


class ExternalPublications:
    """Publishes for external publishers. ``published`` counts what was published.

    Call ``publish`` only while not ``full``.
    """

    log = Logger()

    def __init__(self, pubsub: Publishes) -> None:
        self.published = 0
        self._pubsub = pubsub

    @property
    def full(self) -> bool:
        """Whether external publishers must wait, as all publishers of this node do."""
        return self._pubsub.full

    def publish(self, message: ExternalMessage) -> Accepted | Rejection:
        """Publish a message, if it is a valid publication; refusals are logged."""
        reason = _error(message)
        if reason:
            log_refused(reason)
            return Rejection(reason)
        assert isinstance(message, Publish)
        topic, frame = message.topic, message.frame
        try:
            if topic.startswith(ONE_NODE):
                done = self._pubsub.publish_here(topic, frame)
            elif message.depth:
                done = self._pubsub.publish_retained(topic, frame, message.depth, message.lifetime)
            else:
                done = self._pubsub.publish(topic, frame)
        except NotPublished as error:
            return Rejection(str(error))
        except Exception:
            self.log.failure("a publication of an external publisher failed")
            return Rejection("internal error; see the node's log")
        self.published += 1
        return Accepted(*done)


def _error(message: ExternalMessage) -> str:
    """Return why a message cannot be published, or an empty string if it can.

    The frame is sent to clients unchanged, so it must be complete and valid.
    """
    if not isinstance(message, Publish):
        return f"only nodes send {type(message).__name__}"
    frame = message.frame
    if len(frame) < 2 or frame[0] not in (TEXT, BINARY):
        return "it has no frame"
    payload, is_binary = frame_payload(frame)
    if frame != (binary_frame if is_binary else text_frame)(payload):
        return "its frame's length is wrong"
    if not is_binary and not is_utf8(payload):
        return "its text is not UTF-8"
    return ""
