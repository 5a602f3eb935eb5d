"""Which topics keep their newest messages: ``C10K["TOPICS"]``.

::

    C10K = {"TOPICS": {"chat/*": {"history": 15, "expire": 3600}, "prices": {"history": 1}}}

A pattern is one of ``fnmatch``: ``*`` stands for anything, ``?`` for one character. The first that
fits a topic counts.
"""

from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from re import compile as compile_pattern
from typing import Any, NamedTuple

MAX_HISTORY = 10_000
"""Messages. They are in the memory of the broker and of each node with a subscriber."""


class Kept(NamedTuple):
    """``depth``: how many of a topic's newest messages are kept, 0 for none; ``lifetime``: for how
    many milliseconds, 0 for ever."""

    depth: int
    lifetime: int


NOT_KEPT = Kept(0, 0)


def problems(given: object) -> list[str]:
    """What is wrong with the setting, one sentence each; empty if nothing is."""
    if not isinstance(given, Mapping):
        return [f"C10K['TOPICS'] must be a dict of patterns, not {type(given).__name__}"]
    found = []
    for pattern, options in given.items():
        where = f"C10K['TOPICS'][{pattern!r}]"
        if not isinstance(pattern, str) or not pattern:
            found.append(f"C10K['TOPICS'] has a pattern that is no text: {pattern!r}")
        elif not isinstance(options, Mapping) or not set(options) <= {"history", "expire"}:
            found.append(
                f"{where} must be a dict of 'history' and perhaps 'expire', not {options!r}"
            )
        elif not _is_whole(options.get("history")) or not 1 <= options["history"] <= MAX_HISTORY:
            found.append(
                f"{where}['history'] must be a number of messages from 1 to {MAX_HISTORY}, "
                f"not {options.get('history')!r}"
            )
        elif "expire" in options and not lifetime_fits(options["expire"]):
            found.append(
                f"{where}['expire'] must be a number of seconds above 0, not {options['expire']!r}"
            )
    return found


def lifetime_fits(seconds: object) -> bool:
    """Whether this is a time for which a message may be kept."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and 0.001 <= seconds < 1e12  # type: ignore[operator]


def kept_by_setting(topic: bytes) -> Kept:
    """What the setting says of a topic. Cheap: it is asked for every publication."""
    return _lookup(topic) if _patterns() else NOT_KEPT


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[Any, Kept], ...]:
    from cluster.django import conf

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
    """The setting has changed (in tests): read it again."""
    _patterns.cache_clear()
    _lookup.cache_clear()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
