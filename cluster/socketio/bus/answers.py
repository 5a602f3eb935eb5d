"""Answers: what this node answers to other nodes.

A question is an event that sockets acknowledge, or a request to the node. The node says first how
many answers it sends: see gatherings.py.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import process_topic
from cluster.socketio.bus.emits import Emit, emit_of
from cluster.socketio.bus.envelopes import Envelope
from cluster.socketio.bus.values import decode_value, encode_value
from cluster.socketio.interfaces import Acknowledged, NamespaceRules

_log = Logger()


class Link(Protocol):
    """The server on this node."""

    name: str

    def request(self, topic: bytes, envelope: Envelope) -> int:
        """Send an envelope of this process."""

    def call_here(self, emit: Emit, done: Acknowledged) -> int:
        """Send an event to its sockets on this node, which acknowledge it."""

    def run(self, coroutine: Any, done: Callable[[Any], None] = ..., is_logged: bool = ...) -> None:
        """Run a coroutine in a task; ``done`` receives its result."""


class Answers:
    """Of a server on a node.

    Args:
        link: The server on the node.
        namespaces: The namespaces by their names.
    """

    def __init__(self, link: Link, namespaces: Mapping[str, NamespaceRules]) -> None:
        self._link = link
        self._namespaces = namespaces

    def send(self, question: Envelope, value: Any) -> None:
        """Answer a question with one value."""
        self._answer(question, envelopes.EXPECT, (b"1",))
        self._answer(question, envelopes.ANSWER, encode_value(value))

    def call(self, question: Envelope) -> None:
        """Answer with the acknowledgements of the sockets of this node."""

        def done(arguments: Any) -> None:
            if arguments is None:
                self._answer(question, envelopes.ANSWER, (), envelopes.MISSING)
            else:
                self._answer(question, envelopes.ANSWER, encode_value(arguments))

        count = self._link.call_here(emit_of(question), done)
        self._answer(question, envelopes.EXPECT, (str(count).encode(),))

    def server_event(self, question: Envelope) -> None:
        """Call the handler of an event of another server, and answer if it wants to know."""
        event, *arguments = decode_value(question.parts)
        answering = self._namespaces[question.namespace].server_event(event, arguments)
        if not question.flags & envelopes.ANSWERS:
            self._link.run(answering, is_logged=True)
            return
        self._answer(question, envelopes.EXPECT, (b"1",))

        def done(result: Any) -> None:
            try:
                self._answer(question, envelopes.ANSWER, encode_value(result))
            except (TypeError, ValueError):
                _log.failure("the answer to a Socket.IO server's event {event!r}", event=event)

        self._link.run(answering, done, is_logged=True)

    def _answer(
        self, question: Envelope, kind: int, parts: Sequence[bytes], flags: int = 0
    ) -> None:
        topic = process_topic(self._link.name, question.sender)
        answer = Envelope(
            kind, question.namespace, parts=parts, flags=flags, request=question.request
        )
        self._link.request(topic, answer)
