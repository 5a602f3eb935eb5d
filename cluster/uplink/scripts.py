"""The scripts that Redis runs, with the keys and the limits of one site.

A script is a file in ``scripts/``, with ``shared.lua`` in front of it, except for ``write``. All
take the prefix of the site's keys as their only key. Clients call them by hash, and load them again
when Redis has forgotten them (NOSCRIPT). Each may be sent again when its answer was lost.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cluster.core import wire

VERSION = f"1.{wire.VERSION}"
"""The version of the keys and of the entries in the streams, and that of the messages in them.
Another one has other keys, so that machines with different versions do not see each other."""

INBOX_BYTES = 8 << 20
"""Unread bytes in an inbox above which it takes nothing more: the senders keep it, and pause their
publishers."""

LOG_BYTES = 64 << 20
"""Unread bytes in the log above which no machine can write to it."""

FOLDER = Path(__file__).parent / "scripts"


class Script(NamedTuple):
    """A script: its text for ``SCRIPT LOAD``, and its hash for ``EVALSHA``."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return a script: hello, probe, write, beat, goodbye or outside."""
    shared = "" if name == "write" else (FOLDER / "shared.lua").read_text()
    return compose((FOLDER / f"{name}.lua").read_text(), shared)


def compose(text: str, shared: str) -> Script:
    """Put the shared part between the first line of a script, which has its flags, and the rest."""
    flags, _, rest = text.partition("\n")
    whole = f"{flags}\n{shared}\n{rest}"
    return Script(whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest())


def site_prefix(site: str) -> str:
    """Return what the keys of a site begin with.

    The braces let a Redis Cluster keep all keys of a site in one slot.

    Args:
        site: The site's name; braces and spaces in it are replaced.
    """
    name = "".join("_" if each in "{}" or each.isspace() else each for each in site)
    return f"c10k:{{{name}/{VERSION}}}:"
