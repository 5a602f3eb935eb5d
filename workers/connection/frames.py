"""Masks and parses small text frames (RFC 6455, section 5.2), faster than Autobahn does.

Pure functions of bytes.
"""

SMALL = 125  # bytes: the largest payload whose length is in the frame's second byte (RFC 6455 5.2)

_TEXT = b"\x81"  # a final text frame's first byte
_HEADERS = [bytes((0x81, 0x80 | length)) for length in range(SMALL + 1)]  # masked, as clients must


def masked_text(message: bytes, mask: bytes) -> bytes:
    """A client's frame. message: at most SMALL bytes. mask: 4 bytes.

    The XOR of two long integers is faster than a loop over the bytes.
    """
    length = len(message)
    stream = (mask * ((length + 3) >> 2))[:length]
    payload = int.from_bytes(message, "little") ^ int.from_bytes(stream, "little")
    return _HEADERS[length] + mask + payload.to_bytes(length, "little")


def split_text_frames(data: bytes) -> list[bytes] | None:
    """Return the messages of a chunk of complete small ASCII text frames, otherwise None.

    Such a frame begins with 0x81, which is not an ASCII character, so the chunk is split at every
    0x81. If the first byte of each piece is the length of its rest, the pieces are the frames.
    """
    pieces = data.split(_TEXT)
    if pieces.pop(0) or not b"".join(pieces).isascii():
        return None
    messages = []
    for piece in pieces:
        if not piece or piece[0] != len(piece) - 1 or len(piece) > SMALL + 1:
            return None
        messages.append(piece[1:])
    return messages
