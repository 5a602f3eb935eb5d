"""JSON messages: a value to text by Django's encoder, and text to a value, strictly by RFC 8259."""

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from cluster.core import json_text

encode_json = json_text.text_encoder(DjangoJSONEncoder(separators=(",", ":"), allow_nan=False))
"""Compact JSON text by Django's encoder: also of dates, decimals, UUIDs and lazy texts. Raises
TypeError or ValueError for other values."""


def decode_json(text: str) -> Any:
    """The value of JSON text. Raises ValueError or RecursionError for text that is not JSON.

    Unpaired surrogates are not accepted: a str that has one can be neither sent nor stored.
    """
    value = json_text.decode_json(text)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value
