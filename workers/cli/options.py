"""The options that all subcommands of `swarm` have."""

import argparse

from workers.cli.argument_types import positive, rate, seconds

EPILOG = """\
Exit status: 0 success, 1 something failed, 2 wrong usage, 130 Ctrl-C. Times are in milliseconds; a
percentile is at most 1% too high.
"""
DEFAULT_URL = "ws://127.0.0.1:8000"


def add_common_arguments(
    parser: argparse.ArgumentParser,
    timeout_of: str = "for a connection, for its handshake, and for a reply",
) -> None:
    """timeout_of: what --timeout limits, in the words of the help.

    The epilog of the help is EPILOG, unless the parser has one already.
    """
    parser.epilog = parser.epilog or EPILOG
    add = parser.add_argument
    add(
        "--url",
        action="append",
        metavar="URL",
        help=f"base URL of a server; repeat it to spread clients over several ({DEFAULT_URL})",
    )
    add(
        "--processes",
        type=positive,
        metavar="N",
        help="processes of the swarm; default: by the number of clients",
    )
    add(
        "--timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help=f"seconds {timeout_of} (30)",
    )
    add("--json", action="store_true", help="print the summary as one JSON object, and no progress")


def add_ramp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ramp",
        type=rate,
        default=0.0,
        metavar="RATE",
        help="connections opened a second; 0: as fast as the server accepts them (0)",
    )
