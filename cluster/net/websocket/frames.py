"""WebSocket frames as a server writes them, and the mask that clients put on theirs.

Grammar (RFC 6455 section 5.2), server to client, one message a frame::

    0x81 text, 0x82 binary   length (7 bits, or 126 + u16, or 127 + u64, big-endian)   payload

A frame is encoded once and the same bytes object goes to every subscriber.
"""

from struct import Struct

from autobahn.websocket import USES_NVX
from autobahn.websocket.xormasker import create_xor_masker

TEXT = 0x81
"""First byte of an unfragmented, uncompressed text frame."""

BINARY = 0x82
"""First byte of an unfragmented, uncompressed binary frame."""

SMALL = 125
"""Longest payload, in bytes, whose length fits into the second byte."""

_TEXT_HEADERS = [bytes((TEXT, n)) for n in range(SMALL + 1)]
_BINARY_HEADERS = [bytes((BINARY, n)) for n in range(SMALL + 1)]
_MEDIUM = Struct("!BBH").pack
_LARGE = Struct("!BBQ").pack

# Unmasking by one big-int XOR: mask and payload are read as one little-endian integer, and the
# mask, times 0x…00000001_00000001, is as long as all of it. For 11 bytes this took 0.34 µs; two
# integers and a repeated mask 0.38; four `bytes.translate` 0.82; Autobahn's masker 4-6.
MASK_REPEAT = [sum(1 << (32 * i) for i in range((n + 3) // 4 + 1)) for n in range(SMALL + 1)]
"""By payload length: what the mask, as an integer, is multiplied with to cover mask and payload."""

MASKED_LENGTH = [((n + 3) // 4 + 1) * 4 for n in range(SMALL + 1)]
"""By payload length: bytes of mask and payload, rounded up to whole masks."""


NATIVE_FROM = 1400 if USES_NVX else 1 << 62
"""Payload bytes from which Autobahn's native masker is quicker: 3 µs a call and then next to
nothing, where the big integer takes 2.4 µs for 1,000 bytes and 7.7 for 4,096. (Without the native
part Autobahn's masker would take 614 µs for those.)"""


def text_frame(payload: bytes) -> bytes:
    """Encode a text message; ``payload`` must be UTF-8, which is not checked."""
    size = len(payload)
    if size <= SMALL:
        return _TEXT_HEADERS[size] + payload
    return _long_header(TEXT, size) + payload


def binary_frame(payload: bytes) -> bytes:
    """Encode a binary message."""
    size = len(payload)
    if size <= SMALL:
        return _BINARY_HEADERS[size] + payload
    return _long_header(BINARY, size) + payload


def frame_payload(frame: bytes) -> tuple[bytes, bool]:
    """Take one of our own frames apart again: (payload, is_binary)."""
    length = frame[1]
    start = 2 if length <= SMALL else 4 if length == 126 else 10
    return frame[start:], frame[0] == BINARY


def unmask(mask: bytes, payload: bytes) -> bytes:
    """Take the 4-byte ``mask`` off a payload of any length."""
    size = len(payload)
    if size >= NATIVE_FROM:
        unmasked: bytes = create_xor_masker(mask, size).process(payload)
        return unmasked
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def is_utf8(payload: bytes) -> bool:
    """Whether a complete text payload is valid UTF-8; ask ``isascii()`` first, it is quicker."""
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _long_header(first: int, size: int) -> bytes:
    if size <= 0xFFFF:
        return _MEDIUM(first, 126, size)
    return _LARGE(first, 127, size)
