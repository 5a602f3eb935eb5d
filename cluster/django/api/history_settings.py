"""Which topics retain their newest messages: ``C10K["TOPICS"]``.

::

    C10K = {"TOPICS": {"chat/*": {"history": 15, "expire": 3600}, "prices": {"history": 1}}}

The patterns are those of ``fnmatch``: ``*`` matches anything, ``?`` one character. The first that
matches a topic counts.
"""

from fnmatch import translate
from functools import lru_cache
from re import compile as compile_pattern
from typing import Any, NamedTuple

from cluster.django import conf


class Kept(NamedTuple):
    """How a topic retains messages.

    Attributes:
        depth: How many of its newest messages; 0 for none.
        lifetime: For how many milliseconds; 0 for indefinitely.
    """

    depth: int
    lifetime: int


NOT_KEPT = Kept(0, 0)


def kept_by_setting(topic: bytes) -> Kept:
    """The setting for a topic. Cheap, because it is looked up for each publication."""
    return _lookup(topic) if _patterns() else NOT_KEPT


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[Any, Kept], ...]:
    patterns = []
    for pattern, options in conf.load()["TOPICS"].items():
        lifetime = int(options.get("expire", 0) * 1000)
        patterns.append((compile_pattern(translate(pattern)), Kept(options["history"], lifetime)))
    return tuple(patterns)


@lru_cache(maxsize=4096)
def _lookup(topic: bytes) -> Kept:
    text = topic.decode(errors="replace")
    return next((kept for pattern, kept in _patterns() if pattern.match(text)), NOT_KEPT)


def forget() -> None:
    """Read the setting again, which a test has changed."""
    _patterns.cache_clear()
    _lookup.cache_clear()
