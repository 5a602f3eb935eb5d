"""WebSocket frames as a server sends them, and the mask of the frames that clients send.

Grammar (RFC 6455, section 5.2), server to client, one message in each frame::

    0x81 text, 0x82 binary   length (7 bits, or 126 + u16, or 127 + u64, big-endian)   payload

A frame is encoded once, and the same bytes object goes to all subscribers.
"""

from struct import Struct
from typing import Any

from autobahn.websocket import USES_NVX, xormasker

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

# Unmasking (RFC 6455, section 5.3) by the XOR of one integer: mask and payload together are read as
# a little-endian integer, whose lowest 32 bits are the mask; the mask times 0x…00000001_00000001
# is the mask repeated over its full length. For small messages this is faster than the alternatives
# that were tried: two integers and a repeated mask, four calls of `bytes.translate`, and Autobahn's
# masker.
MASK_REPEAT = [sum(1 << (32 * i) for i in range((n + 3) // 4 + 1)) for n in range(SMALL + 1)]
"""By payload length: the factor that repeats the mask over mask and payload."""

MASKED_LENGTH = [((n + 3) // 4 + 1) * 4 for n in range(SMALL + 1)]
"""By payload length: bytes of mask and payload, rounded up to a multiple of four."""

_untyped: Any = xormasker  # the module's annotations lack the function that it imports
_create_masker = _untyped.create_xor_masker

NATIVE_FROM = 1400 if USES_NVX else 1 << 62
"""The smallest payload, in bytes, for which Autobahn's native masker is faster than an integer.
(Its masker in Python is never faster.)"""


def text_frame(payload: bytes) -> bytes:
    """Encode a text message for ``publish_frame`` or ``send_frame``.

    Args:
        payload: The text in UTF-8, which is not checked.

    Returns:
        The complete WebSocket frame (RFC 6455, section 5.2).
    """
    size = len(payload)
    if size <= SMALL:
        return _TEXT_HEADERS[size] + payload
    return _long_header(TEXT, size) + payload


def binary_frame(payload: bytes) -> bytes:
    """Encode a binary message for ``publish_frame`` or ``send_frame``.

    Args:
        payload: The message.

    Returns:
        The complete WebSocket frame (RFC 6455, section 5.2).
    """
    size = len(payload)
    if size <= SMALL:
        return _BINARY_HEADERS[size] + payload
    return _long_header(BINARY, size) + payload


def frame_payload(frame: bytes) -> tuple[bytes, bool]:
    """Decode a frame of ``text_frame`` or ``binary_frame``: (payload, is_binary)."""
    length = frame[1]
    start = 2 if length <= SMALL else 4 if length == 126 else 10
    return frame[start:], frame[0] == BINARY


def unmask(mask: bytes, payload: bytes) -> bytes:
    """Remove a mask of 4 bytes from a payload of any length."""
    size = len(payload)
    if size >= NATIVE_FROM:
        unmasked: bytes = _create_masker(mask, size).process(payload)
        return unmasked
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(
        size, "little"
    )


def is_utf8(payload: bytes) -> bool:
    """Whether a complete payload is valid UTF-8. Call ``isascii()`` first: it is faster."""
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _long_header(first: int, size: int) -> bytes:
    if size <= 0xFFFF:
        return _MEDIUM(first, 126, size)
    return _LARGE(first, 127, size)
