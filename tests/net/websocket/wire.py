"""Bytes of a client: masked frames, valid and invalid, and the opening request."""

from itertools import cycle

MASK = b"\x11\x82\x33\xf4"

REQUEST = (
    b"GET /ws HTTP/1.1\r\n"
    b"Host: localhost:8000\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
)


def request(*headers: bytes) -> bytes:
    """A valid opening request with more header lines."""
    return REQUEST + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    return bytes(a ^ b for a, b in zip(payload, cycle(mask), strict=False))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    form: int = 0,
) -> bytes:
    """Encode a client's frame; ``form`` 126 or 127 forces a longer length field than needed."""
    size = len(payload)
    bit = 0x80 if mask is not None else 0
    form = max(form, 0 if size < 126 else 126 if size <= 0xFFFF else 127)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 126:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    elif form == 127:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    else:
        head += bytes([bit | size])
    return head + (payload if mask is None else mask + masked(payload, mask))


def text(payload: str) -> bytes:
    return frame(1, payload.encode())


def binary(payload: bytes) -> bytes:
    return frame(2, payload)


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(8, b"" if code is None else code.to_bytes(2, "big") + reason)


def server_close(code: int, reason: bytes = b"") -> bytes:
    """Encode a Close frame of the server."""
    payload = code.to_bytes(2, "big") + reason
    return bytes([0x88, len(payload)]) + payload
