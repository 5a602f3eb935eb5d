"""Checks the setting ``C10K["TOPICS"]``, which cluster.django.api.history_settings uses."""

from collections.abc import Mapping

MAX_HISTORY = 10_000
"""Messages. The broker and each node with a subscriber keep them in memory."""


def problems(given: object) -> list[str]:
    """The errors in the setting, one sentence each."""
    if not isinstance(given, Mapping):
        return [f"C10K['TOPICS'] must be a dict of patterns, not {type(given).__name__}"]
    found = []
    for pattern, options in given.items():
        where = f"C10K['TOPICS'][{pattern!r}]"
        if not isinstance(pattern, str) or not pattern:
            found.append(
                f"C10K['TOPICS'] has a pattern that is not a non-empty string: {pattern!r}"
            )
        elif not isinstance(options, Mapping) or not set(options) <= {"history", "expire"}:
            found.append(
                f"{where} must be a dict with 'history' and optionally 'expire', not {options!r}"
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
    """Whether a message can be kept for so many seconds."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and 0.001 <= seconds < 1e12  # type: ignore[operator]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
