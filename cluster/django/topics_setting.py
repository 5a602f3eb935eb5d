"""What the setting ``C10K["TOPICS"]`` may be (cluster.django.api.retention reads it)."""

from collections.abc import Mapping

MAX_HISTORY = 10_000
"""Messages. They are in the memory of the broker and of each node with a subscriber."""


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


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
