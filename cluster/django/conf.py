"""The ``C10K`` setting: one dict, whose keys are listed here with their defaults.

A key that is not listed is an error, because a misspelt limit would be no limit.
"""

from collections.abc import Mapping
from typing import Any

from cluster.core.exceptions import ConfigurationError
from cluster.core.outbound import HIGH_WATER, LOW_WATER

DEFAULTS: dict[str, Any] = {
    # Origins besides the site's own that may open WebSockets, e.g. "https://app.example.com".
    "ALLOWED_ORIGINS": (),
    # Seconds a client has for its opening handshake or its HTTP request's header.
    "HANDSHAKE_TIMEOUT": 10.0,
    # Seconds a client has to answer a close frame.
    "CLOSE_TIMEOUT": 5.0,
    # Bytes that wait for a client which does not read, before it is closed (1013) or conflated; and
    # below which a handler's send() no longer waits.
    "SEND_QUEUE_HIGH_WATER": HIGH_WATER,
    "SEND_QUEUE_LOW_WATER": LOW_WATER,
    # Messages and bytes that wait for a handler which does not recv(), before its client is no
    # longer read.
    "RECEIVE_QUEUE_MESSAGES": 64,
    "RECEIVE_QUEUE_BYTES": 1 << 20,
    # Threads for ordinary views in each node, and requests that may wait for one before 503.
    "WSGI_THREADS": 10,
    "WSGI_QUEUE": 100,
    # Bytes of an HTTP request's body; more is answered 413.
    "MAX_REQUEST_BODY": 10 << 20,
    # Whether permessage-deflate is accepted when a client offers it.
    "COMPRESSION": False,
}

_LISTS = {"ALLOWED_ORIGINS"}
_MARKS = ("HIGH", "LOW")


def check(given: object) -> list[str]:
    """What is wrong with a C10K setting, one sentence each; empty if nothing is."""
    if not isinstance(given, Mapping):
        return [f"C10K must be a dict, not {type(given).__name__}"]
    problems = []
    for key, value in given.items():
        if key not in DEFAULTS:
            known = ", ".join(sorted(DEFAULTS))
            problems.append(f"C10K has an unknown key {key!r}; known keys: {known}")
        elif key in _LISTS:
            if not isinstance(value, list | tuple | set | frozenset) or not all(
                isinstance(item, str) for item in value
            ):
                problems.append(f"C10K[{key!r}] must be a list of strings, not {value!r}")
        elif isinstance(DEFAULTS[key], bool):
            if not isinstance(value, bool):
                problems.append(f"C10K[{key!r}] must be True or False, not {value!r}")
        elif (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 < value < float("inf")
        ):
            problems.append(f"C10K[{key!r}] must be a number above 0, not {value!r}")
        elif isinstance(DEFAULTS[key], int) and not isinstance(value, int):
            problems.append(f"C10K[{key!r}] must be a whole number, not {value!r}")
    if not problems:
        high, low = ((DEFAULTS | dict(given))[f"SEND_QUEUE_{mark}_WATER"] for mark in _MARKS)
        if low > high:
            problems.append(
                f"C10K['SEND_QUEUE_LOW_WATER'] ({low}) must not be above "
                f"C10K['SEND_QUEUE_HIGH_WATER'] ({high})"
            )
    return problems


def load() -> dict[str, Any]:
    """The setting with defaults filled in; raises ConfigurationError if it is wrong."""
    from django.conf import settings

    given = getattr(settings, "C10K", {})
    problems = check(given)
    if problems:
        raise ConfigurationError("; ".join(problems))
    return DEFAULTS | dict(given)
