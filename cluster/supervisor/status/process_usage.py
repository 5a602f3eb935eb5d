"""CPU time and memory of a process, from Linux's /proc (proc(5)).

On other systems, and for a process that has ended, nothing is known.
"""

import os
from typing import NamedTuple


class Usage(NamedTuple):
    """What a process uses.

    Attributes:
        cpu_s: CPU time since its start, in seconds.
        rss_bytes: Resident memory.
    """

    cpu_s: float
    rss_bytes: int


def usage_of(pid: int, root: str = "/proc") -> Usage | None:
    """Read what a process uses; None if that cannot be known."""
    try:
        with open(f"{root}/{pid}/stat", encoding="latin-1") as file:
            # The name in parentheses may have any characters.
            fields = file.read().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        pages = int(fields[21])
    except (OSError, IndexError, ValueError):
        return None
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))
