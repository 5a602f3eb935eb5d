"""JSON messages: a value to text by Django's encoder, and text to a value, strictly by RFC 8259."""

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder


def encode_json(value: Any) -> str:
    """Compact JSON text by Django's encoder. Raises TypeError or ValueError for other values."""
    return json.dumps(value, cls=DjangoJSONEncoder, separators=(",", ":"), allow_nan=False)


def decode_json(text: str) -> Any:
    """The value of JSON text. Raises ValueError or RecursionError for text that is not JSON.

    NaN and infinite numbers are not JSON (RFC 8259, section 6), although Python's decoder takes
    them. Nor are unpaired surrogates accepted: a str that has one can be neither sent nor stored.
    """
    value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("the number is too large")
    return number
