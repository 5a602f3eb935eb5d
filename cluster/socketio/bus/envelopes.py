"""What the nodes of a Socket.IO server send each other, on the topics of addresses.py.

Grammar, in fields (core.wire.fields)::

    envelope = header namespace rooms... skipped... parts...
    header   = kind u8, flags u8, request u64, number of rooms u16, number of skipped u16, sender

``sender`` is the token of the process that sent it, which skips its own envelopes; EXTERNAL for a
process without clients. ``rooms`` are names of rooms and ids of sockets: the receivers; all sockets
of the namespace without any. ``skipped`` does not receive it. ``parts`` depend on the kind:

    EMIT           the text of a packet, its attachments
    CALL           the same; each receiver acknowledges, and the answers go to the sender
    EXPECT         the number of acknowledgements that the node will send, for ``request``
    ANSWER         an acknowledgement or another answer to ``request``: a value
    ENTER, LEAVE   names of rooms that the receivers enter or leave
    DISCONNECT     the reason; with CLOSE in the flags, their clients are closed
    FETCH          the node answers with descriptions of the receivers
    SERVER_EVENT   an event for the other servers: a value; with ANSWERS in the flags, they answer
    RECORD         records of sessions of the sender (recovery/records.py)
    FORGET         private ids of sessions that cannot be continued
    RECOVER        a private id: the receiver ends the session's socket, and answers with the record
    ALIVE          the sender is alive; with ANSWERS in the flags, others send it their records

A value is JSON in which binary data is replaced as in a packet, and its attachments.
"""

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from cluster.core.exceptions import WireError
from cluster.core.wire.fields import decode_fields, encode_fields

EMIT, CALL, EXPECT, ANSWER, ENTER, LEAVE, DISCONNECT, FETCH, SERVER_EVENT = range(9)
RECORD, FORGET, RECOVER, ALIVE = range(9, 13)

VOLATILE = 1
"""Flag of EMIT: a client that is not writable now does not receive it."""

CLOSE = 2
"""Flag of DISCONNECT."""

ANSWERS = 4
"""Flag of SERVER_EVENT and ALIVE."""

MISSING = 8
"""Flag of ANSWER: the client is gone, and does not answer."""

EXTERNAL = ""
"""The sender of envelopes that every node acts upon."""

_HEADER = Struct("<BBQHH")


class Envelope(NamedTuple):
    """What travels on a topic."""

    kind: int
    namespace: str
    rooms: Sequence[str] = ()
    skipped: Sequence[str] = ()
    parts: Sequence[bytes] = ()
    flags: int = 0
    request: int = 0
    sender: str = EXTERNAL


def encode_envelope(envelope: Envelope) -> bytes:
    """Encode an envelope."""
    kind, namespace, rooms, skipped, parts, flags, request, sender = envelope
    header = _HEADER.pack(kind, flags, request, len(rooms), len(skipped)) + sender.encode()
    return encode_fields([header, namespace.encode(), *map(str.encode, (*rooms, *skipped)), *parts])


def sender_of(data: bytes) -> str:
    """The sender alone: a process skips its own envelopes without decoding them."""
    count = int.from_bytes(data[:4], "little")
    length = int.from_bytes(data[4:8], "little")
    body = 4 + 4 * count
    return data[body + _HEADER.size : body + length].decode("ascii", "replace")


def decode_envelope(data: bytes) -> Envelope:
    """Decode an envelope.

    Raises:
        WireError: It is none.
    """
    fields = decode_fields(data)
    try:
        kind, flags, request, rooms, skipped = _HEADER.unpack_from(fields[0])
        sender = fields[0][_HEADER.size :].decode("ascii")
        namespace = fields[1].decode()
        names = [field.decode() for field in fields[2 : 2 + rooms + skipped]]
    except (IndexError, StructError, UnicodeDecodeError) as error:
        raise WireError(f"no envelope: {error}") from None
    if len(names) != rooms + skipped or kind > ALIVE:
        raise WireError(f"no envelope: kind {kind}, {len(names)} names")
    parts = fields[2 + rooms + skipped :]
    return Envelope(kind, namespace, names[:rooms], names[rooms:], parts, flags, request, sender)
