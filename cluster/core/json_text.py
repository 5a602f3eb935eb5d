"""JSON text to values, strictly by RFC 8259, and values to text.

Both functions do what the json module does, without most of the preparation that json repeats for
each call, which takes longer than encoding a short message.
"""

import json
from collections.abc import Callable
from math import isinf
from typing import Any


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


_WHITE_SPACE = " \t\n\r"

_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def decode_json(text: str, start: int = 0) -> Any:
    """Decode JSON text.

    NaN and infinite numbers are not JSON (RFC 8259, section 6), although Python's decoder takes
    them.

    Args:
        text: The text.
        start: Where the JSON begins in it; it ends at the end of the text.

    Returns:
        The value.

    Raises:
        ValueError: It is not JSON, or has a number that is too large.
        RecursionError: It is nested too deeply.
    """
    try:
        value, end = _decoder.raw_decode(text, start)
    except ValueError:
        return _decoder.decode(text[start:])  # perhaps it begins with white space
    if end != len(text) and text[end:].strip(_WHITE_SPACE):
        raise ValueError(f"{text[end : end + 40]!r} follows the JSON")
    return value


def text_encoder(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """The ``encode`` of an encoder.

    Args:
        encoder: The encoder, without indentation; it does not change.

    Returns:
        A function that encodes a value as JSON text. It raises TypeError for a value that has no
        JSON, and ValueError for one that is nested too deeply or refers to itself.
    """
    make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
    escaped = (
        json.encoder.encode_basestring_ascii
        if encoder.ensure_ascii
        else json.encoder.encode_basestring
    )
    options = (
        encoder.default, escaped, None, encoder.key_separator, encoder.item_separator,
        encoder.sort_keys, encoder.skipkeys, encoder.allow_nan,
    )  # fmt: skip

    def encode(value: Any) -> str:
        try:
            if make is None:  # a Python without it
                return encoder.encode(value)
            # The dict is that of the containers around a value, in which a circular one is found.
            return "".join(make({}, *options)(value, 0))
        except RecursionError:
            raise ValueError("the value is nested too deeply, or refers to itself") from None

    return encode
