"""The output of a subcommand: its result as lines or as one JSON object, and errors on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def complain(text: str) -> None:
    print(f"swarm: {text}", file=sys.stderr, flush=True)


def refuse(options: Mapping[str, Any], *why: str, warnings: Sequence[str] = ()) -> int:
    """Print why the run cannot begin, on stderr and with --json on stdout; returns 1."""
    for line in why:
        complain(line)
    if options["json"]:
        print_json({}, warnings, why, interrupted=False)
    return 1


def print_json(
    values: Mapping[str, Any], warnings: Sequence[str], errors: Sequence[str], interrupted: bool
) -> None:
    last = {"warnings": warnings, "errors": errors, "interrupted": interrupted}
    print(json.dumps({**values, **last}), flush=True)


def print_lines(lines: Sequence[str], interrupted: bool) -> None:
    """Print the result on stdout."""
    if lines:
        if interrupted:
            print("interrupted; so far:")
        print("\n".join(lines), flush=True)
