"""Emits: events on their way to sockets, and how they travel between nodes.

``publication_of`` alone decides how an emit travels, ``LocalSockets.deliver`` alone queues it to
the sockets of a node.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cluster.core.socketio import packets
from cluster.core.socketio.packets import (
    ACK,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED_EVENTS,
)
from cluster.django.api.json_messages import encode_json
from cluster.django.api.publication import Publication
from cluster.net.websocket.frames import binary_frame
from cluster.socketio.bus.addresses import log_topic, topic_for
from cluster.socketio.bus.envelopes import (
    CALL,
    EMIT,
    EXTERNAL,
    VOLATILE,
    Envelope,
    encode_envelope,
)
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.recovery.options import RecoveryOptions

MESSAGE = b"4"
"""Engine.IO's type of a packet that carries a packet of Socket.IO."""


class Emit(NamedTuple):
    """An event for sockets of a namespace.

    Attributes:
        namespace: The namespace.
        packet: The event.
        rooms: Names of rooms and ids of sockets; all sockets of the namespace without any.
        skipped: Names of rooms and ids of sockets that do not receive it.
        is_volatile: Whether clients that are not writable now do not receive it.
    """

    namespace: str
    packet: OutPacket
    rooms: Sequence[str] = ()
    skipped: Sequence[str] = ()
    is_volatile: bool = False


def publication_of(
    server: str,
    emit: Emit,
    sender: str = EXTERNAL,
    request: int | None = None,
    recovery: RecoveryOptions | None = None,
) -> Publication:
    """How an emit travels: the topic, and the envelope.

    With recovery, events go through the log of the namespace, unless they are volatile or are
    acknowledged.

    Args:
        server: The name of the server.
        emit: The emit.
        sender: The token of this process, which has delivered it to its own sockets. In the log,
            that of the only process that delivers it.
        request: The number of the call that the receivers answer; None for none.
        recovery: The options of a server with recovery.
    """
    envelope = Envelope(
        EMIT if request is None else CALL,
        emit.namespace,
        emit.rooms,
        emit.skipped,
        (emit.packet.text, *emit.packet.attachments),
        VOLATILE if emit.is_volatile else 0,
        request or 0,
        sender,
    )
    if recovery is not None and request is None and not emit.is_volatile:
        frame = binary_frame(encode_envelope(envelope))
        return Publication(log_topic(server, emit.namespace), frame, recovery.kept)
    return publication(topic_for(server, emit.namespace, emit.rooms, recovery is None), envelope)


def log_mark(server: str, namespace: str, recovery: RecoveryOptions) -> Publication:
    """What gives the log of a namespace its first position, and reaches no socket."""
    frame = binary_frame(encode_envelope(Envelope(EMIT, namespace)))
    return Publication(log_topic(server, namespace), frame, recovery.kept)


def emit_of(envelope: Envelope) -> Emit:
    """The emit that an envelope carries. Raises IndexError if it carries none."""
    text, attachments = envelope.parts[0], tuple(envelope.parts[1:])
    return Emit(
        envelope.namespace,
        OutPacket(text, attachments),
        envelope.rooms,
        envelope.skipped,
        bool(envelope.flags & VOLATILE),
    )


def publication(topic: bytes, envelope: Envelope) -> Publication:
    """An envelope on its way to a topic."""
    return Publication(topic, binary_frame(encode_envelope(envelope)))


# Packets.


def event_packet(namespace: str, event: str, arguments: Sequence[Any]) -> OutPacket:
    """The packet of an event.

    Raises:
        TypeError: The name is not text, or an argument cannot be encoded.
        ValueError: The name is reserved, or an argument has a NaN.
    """
    if event.__class__ is not str and not isinstance(event, str):
        raise TypeError(f"the name of an event is str, not {type(event).__name__}")
    if event in RESERVED_EVENTS:
        raise ValueError(f"the event {event!r} is reserved by Socket.IO")
    return _packet(EVENT, namespace, [event, *arguments])


def with_id(packet: OutPacket, namespace: str, id: int) -> OutPacket:
    """The packet of an event that its receiver acknowledges with this id."""
    text = packet.text
    at = text.index(b"-") + 1 if packet.attachments else 2
    if namespace != "/":
        at += len(namespace.encode()) + 1
    return OutPacket(text[:at] + str(id).encode() + text[at:], packet.attachments)


def ack_packet(namespace: str, arguments: Sequence[Any], id: int) -> OutPacket:
    """The packet that acknowledges an event of a client.

    Raises:
        TypeError: An argument cannot be encoded.
        ValueError: An argument has a NaN.
    """
    return _packet(ACK, namespace, arguments, id)


def connect_packet(namespace: str, socket_id: str, private_id: str | None = None) -> OutPacket:
    """The packet that says that a client is connected to a namespace."""
    content = {"sid": socket_id}
    if private_id is not None:
        content["pid"] = private_id
    return _packet(CONNECT, namespace, content)


def connect_error_packet(namespace: str, content: Any) -> OutPacket:
    """The packet that refuses a client; ``content`` has a ``message``."""
    return _packet(CONNECT_ERROR, namespace, content)


def disconnect_packet(namespace: str) -> OutPacket:
    """The packet that disconnects a client from a namespace."""
    return _packet(DISCONNECT, namespace, None)


def _packet(type: int, namespace: str, data: Any, id: int | None = None) -> OutPacket:
    text, attachments = packets.encode(type, namespace, data, id, encode_json)
    return OutPacket(MESSAGE + text, attachments)


# Acknowledgements.


def acknowledgement_of(result: Any) -> tuple[Any, ...]:
    """The arguments of an acknowledgement: what a handler returns."""
    if result is None:
        return ()
    if isinstance(result, tuple):
        return result
    return (result,)


def result_of(arguments: Sequence[Any]) -> Any:
    """What ``call`` returns: None, one value, or a tuple of several."""
    if len(arguments) == 1:
        return arguments[0]
    return tuple(arguments) if arguments else None
