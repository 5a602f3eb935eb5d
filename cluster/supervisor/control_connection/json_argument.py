"""Json: an AMP argument of any JSON value, also one that is longer than AMP's limit of 64 KiB.

AMP limits each value of a message, but not their number (twisted.protocols.amp). So a long value is
sent in parts: ``answer``, ``answer.1``, ``answer.2``, …
"""

import json
from typing import Any

from twisted.protocols import amp

PART = 60_000
"""Bytes of a part."""

MAX_PARTS = 1000


class Json(amp.Argument):
    """A JSON value."""

    def toBox(
        self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: Any
    ) -> None:
        data = json.dumps(objects[name.decode()]).encode()
        for number, start in enumerate(range(0, len(data), PART)):
            strings[_key(name, number)] = data[start : start + PART]

    def fromBox(
        self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: Any
    ) -> None:
        parts = []
        for number in range(MAX_PARTS):
            part = strings.get(_key(name, number))
            if part is None:
                break
            parts.append(part)
        objects[name.decode()] = json.loads(b"".join(parts))


def _key(name: bytes, number: int) -> bytes:
    return b"%b.%d" % (name, number) if number else name
