"""Types of command-line arguments for argparse, with their error messages."""

import argparse
import re


def natural(text: str) -> int:
    return whole(text, 0)


def positive(text: str) -> int:
    return whole(text, 1)


def whole(text: str, least: int, most: float = float("inf")) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        wanted = f"of at least {least}" if most == float("inf") else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"must be a whole number {wanted}, not {text!r}")
    return number


def rate(text: str) -> float:
    """At least 0; also for seconds that may be 0."""
    number = _number(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, not {text!r}")
    return number


def seconds(text: str) -> float:
    """More than 0; also for a rate that must not be 0."""
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def path(text: str) -> str:
    """The path of a URL, as in the first line of a request."""
    if not re.fullmatch(r"/[!-~]*", text):
        raise argparse.ArgumentTypeError(
            f"must begin with / and have no spaces or accents (%20 is a space), not {text!r}"
        )
    return text
