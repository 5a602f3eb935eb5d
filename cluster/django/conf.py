"""The ``C10K`` setting: a dict whose keys are listed here with their defaults.

A key that is not listed is an error, because a misspelt limit would have no effect. Where a key is
also an option of ``twistd c10k``, the setting is the option's default.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from cluster.core.exceptions import ConfigurationError
from cluster.core.water_marks import HIGH_WATER, LOW_WATER
from cluster.django import conf_machines, conf_topics
from cluster.django.handshake.proxies import Proxies


class Kind(NamedTuple):
    """A kind of value.

    Attributes:
        words: What follows "must be" in an error.
        fits: Whether a value is of this kind.
    """

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value > 0


def _is_strings(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(
        isinstance(item, str) for item in value
    )


NUMBER = Kind("a number above 0", lambda value: _is_number(value) and 0 < value < float("inf"))
NUMBER_OR_0 = Kind(
    "a number, 0 or more", lambda value: _is_number(value) and 0 <= value < float("inf")
)
COUNT = Kind("a whole number above 0", _is_count)
SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
STRINGS = Kind("a list of strings", _is_strings)
TEXT = Kind("a string that is not empty", lambda value: isinstance(value, str) and value != "")


def is_application(value: Any) -> bool:
    """Whether a value can name an ASGI application: MODULE:NAME."""
    return isinstance(value, str) and _APPLICATION.fullmatch(value) is not None


_APPLICATION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*[:.][^\W\d]\w*")

APPLICATION = Kind(
    'the place of an ASGI application, such as "mysite.asgi:application"', is_application
)

MACHINE = Kind(conf_machines.MACHINE_WORDS, conf_machines.is_machine)
SITE = Kind(conf_machines.SITE_WORDS, conf_machines.is_site)


def optional(kind: Kind) -> Kind:
    """A kind that also allows None."""
    return Kind(f"{kind.words}, or None", lambda value: value is None or kind.fits(value))


def one_of(*values: str) -> Kind:
    """One of these strings."""
    words = ", ".join(map(repr, values[:-1])) + f" or {values[-1]!r}"
    return Kind(words, lambda value: value in values)


_KEYS: dict[str, tuple[Any, Kind]] = {
    # Node processes; None: one for each core.
    "NODES": (None, optional(COUNT)),
    # What connects the nodes; the URL of a Redis if the site has several machines. None: the
    # cluster's own broker.
    "BUS": (None, optional(TEXT)),
    # The name of this machine, and the name of the site that all its machines share; None: the host
    # name, and the name of the settings module.
    "MACHINE": (None, optional(MACHINE)),
    "SITE": (None, optional(SITE)),
    # The ASGI application of the whole site; None: the URLconf's views.
    "ASGI": (None, optional(APPLICATION)),
    # Seconds between pings to a WebSocket client, and seconds for the answer to one.
    "PING_INTERVAL": (20.0, NUMBER),
    "PING_TIMEOUT": (30.0, NUMBER),
    # Seconds between comments to a client of server-sent events.
    "STREAM_HEARTBEAT": (15.0, NUMBER),
    # Bytes of the largest message a client may send.
    "MAX_MESSAGE_SIZE": (1 << 20, COUNT),
    # Seconds for running views and closing connections when a node stops.
    "DRAIN_TIMEOUT": (10.0, NUMBER_OR_0),
    # Seconds after which a node whose event loop is blocked is replaced.
    "BLOCKED_LOOP_TIMEOUT": (30.0, NUMBER),
    # Seconds over which a node that a restart has replaced closes its clients, in batches.
    "RESTART_SPREAD": (10.0, NUMBER_OR_0),
    # The proxies in front whose X-Forwarded-For and X-Forwarded-Proto count.
    "PROXY_HEADERS": (
        (),
        Kind(
            'a list of the proxies\' addresses, such as ["127.0.0.1", "10.0.0.0/8", "unix:"]',
            _is_strings,
        ),
    ),
    # Seconds after which that proxy closes a silent connection; used by the checks alone.
    "PROXY_TIMEOUT": (None, optional(NUMBER)),
    # First port of the cluster through which other processes publish; None: the only cluster of the
    # site that is running.
    "CLUSTER_PORT": (None, optional(COUNT)),
    # Origins besides the site's own that may open WebSockets, e.g. "https://app.example.com".
    "ALLOWED_ORIGINS": ((), STRINGS),
    # Names by which the admin port may be addressed, besides those of the machine.
    "ADMIN_HOSTS": ((), STRINGS),
    # Middleware of MIDDLEWARE that does not run for handshakes and feeds, by its dotted path.
    "SKIP_MIDDLEWARE": ((), STRINGS),
    # Seconds for a client's opening handshake or the header of its HTTP request.
    "HANDSHAKE_TIMEOUT": (10.0, NUMBER),
    # Seconds for a client's answer to a close frame.
    "CLOSE_TIMEOUT": (5.0, NUMBER),
    # Bytes that may wait for a client that does not read, before it is closed (1013) or conflated;
    # and bytes below which a handler's send() no longer waits.
    "SEND_QUEUE_HIGH_WATER": (HIGH_WATER, COUNT),
    "SEND_QUEUE_LOW_WATER": (LOW_WATER, COUNT),
    # Messages and bytes that may wait for a handler that does not call recv(), before the node
    # stops reading from its client.
    "RECEIVE_QUEUE_MESSAGES": (64, COUNT),
    "RECEIVE_QUEUE_BYTES": (1 << 20, COUNT),
    # The reaction of publish() when no cluster is running.
    "PUBLISH_WITHOUT_CLUSTER": ("warn", one_of("warn", "error", "ignore")),
    # Topics with history: pattern -> {"history": messages, "expire": seconds}.
    "TOPICS": ({}, Kind("a dict of patterns", lambda value: isinstance(value, Mapping))),
    # Messages that may wait for a handler's loop over a topic (topic_messages).
    "TOPIC_QUEUE_MESSAGES": (1000, COUNT),
    # The dotted path of the function that decides who may subscribe and publish to which audiences;
    # None: everybody may subscribe, nobody may publish.
    "AUDIENCE_PERMISSION": (None, optional(TEXT)),
    # The text sent to clients of audiences every 4 seconds; None: nothing.
    "AUDIENCE_HEARTBEAT": (None, optional(TEXT)),
    # Threads for ordinary views in each node, and requests that may wait for a thread.
    "WSGI_THREADS": (10, COUNT),
    "WSGI_QUEUE": (100, COUNT),
    # Requests of async views and ASGI applications that each node answers at the same time.
    "ASYNC_REQUESTS": (1000, COUNT),
    # Threads for ain_database and for handshakes with a session, and calls that may wait for one.
    "DATABASE_THREADS": (5, COUNT),
    "DATABASE_QUEUE": (5000, COUNT),
    # Sockets of each node, whatever they are for: in all (None: as many as there are descriptors),
    # and of one address (None: no limit), which an office or a provider's network may share.
    "MAX_CONNECTIONS": (None, optional(COUNT)),
    "MAX_CONNECTIONS_PER_CLIENT": (500, optional(COUNT)),
    # WebSockets and clients of feeds of one user in each node; None: no limit.
    "MAX_CONNECTIONS_PER_USER": (None, optional(COUNT)),
    # Whether a client is closed when its session expires.
    "CLOSE_EXPIRED_SESSIONS": (True, SWITCH),
    # Seconds after which a client must connect again; None: no limit.
    "MAX_CONNECTION_AGE": (None, optional(NUMBER)),
    # Messages per second from one client, and messages that it may send at once; None: no limit.
    "MESSAGE_RATE": (None, optional(NUMBER)),
    "MESSAGE_BURST": (100, COUNT),
    # Bytes of an HTTP request's body; a larger one is answered 413.
    "MAX_REQUEST_BODY": (10 << 20, COUNT),
    # Bytes of all bodies together that a node holds, in memory and on disk.
    "MAX_REQUEST_BODIES": (128 << 20, COUNT),
    # Seconds that a client may take for a body, and bytes that it must send each second.
    "REQUEST_BODY_TIMEOUT": (300.0, NUMBER),
    "REQUEST_BODY_RATE": (1000, NUMBER),
    # Whether permessage-deflate is accepted when a client offers it.
    "COMPRESSION": (False, SWITCH),
}

DEFAULTS: dict[str, Any] = {key: default for key, (default, _) in _KEYS.items()}

_MARKS = ("HIGH", "LOW")


def check(given: object) -> list[str]:
    """The errors in a C10K setting, one sentence each."""
    if not isinstance(given, Mapping):
        return [f"C10K must be a dict, not {type(given).__name__}"]
    problems = []
    for key, value in given.items():
        if key not in _KEYS:
            problems.append(f"C10K has an unknown key {key!r}; {_known_keys(key)}")
        elif not _KEYS[key][1].fits(value):
            problems.append(f"C10K[{key!r}] must be {_KEYS[key][1].words}, not {value!r}")
        elif key == "TOPICS":
            problems += conf_topics.problems(value)
        elif key == "PROXY_HEADERS":
            problems += _proxy_problems(value)
    if not problems:
        high, low = ((DEFAULTS | dict(given))[f"SEND_QUEUE_{mark}_WATER"] for mark in _MARKS)
        if low > high:
            problems.append(
                f"C10K['SEND_QUEUE_LOW_WATER'] ({low}) must not be above "
                f"C10K['SEND_QUEUE_HIGH_WATER'] ({high})"
            )
    return problems


def _proxy_problems(names: Sequence[str]) -> list[str]:
    try:
        Proxies(list(names))
    except ConfigurationError as error:
        return [f"C10K['PROXY_HEADERS']: {error}"]
    return []


def _known_keys(key: object) -> str:
    meant = get_close_matches(str(key).upper(), _KEYS, n=1, cutoff=0.8)
    return f"did you mean {meant[0]!r}?" if meant else f"known keys: {', '.join(sorted(_KEYS))}"


def load() -> dict[str, Any]:
    """The setting with its defaults.

    Raises:
        ConfigurationError: The setting has errors.
    """
    from django.conf import settings

    given = getattr(settings, "C10K", {})
    problems = check(given)
    if problems:
        raise ConfigurationError("; ".join(problems))
    return DEFAULTS | dict(given)
