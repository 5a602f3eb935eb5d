"""What all subcommands print: tables, sizes, durations, text of clients, and a warning."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cluster.logs.untrusted_text import escape


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value), flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a table as lines of text.

    Args:
        headings: The names of the columns.
        rows: The cells.
        left: How many columns, from the first, are aligned to the left.
    """
    lines = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join(map(line, lines))


def number(value: float | None) -> str:
    """A number, with one decimal if it is small; "-" if it is not known."""
    if value is None:
        return "-"
    return f"{value:.1f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}"


def size(octets: float | None) -> str:
    """A number of bytes in a fitting unit."""
    if octets is None:
        return "-"
    for unit in ("B", "KB", "MB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}"
        octets /= 1000
    return f"{octets:.1f} GB"


def duration(seconds: float | None) -> str:
    """A time span in its two largest units."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def text(value: str) -> str:
    """Text that a client may have chosen, without control characters."""
    return escape(value)


def warn_of_silence(answer: dict[str, Any]) -> None:
    """Say on standard error which nodes did not answer."""
    if answer["silent"]:
        print(f"c10k: no answer from {', '.join(answer['silent'])}", file=sys.stderr)
