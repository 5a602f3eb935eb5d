"""The memory of a cluster's processes over time, and whether it grows. Pure, except `sample`."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from workers.reporting.server_memory import resident

WINDOW = 0.15
"""Part of the duration whose samples are compared: those after the time to settle with the last."""

MARGIN = 0.10
MARGIN_BYTES = 16 << 20
"""Growth that is no violation: part of the size before, and bytes. Python returns memory to the
system in blocks of 256 KiB to 1 MiB, so sizes differ by some MiB for each process."""


class Sample(NamedTuple):
    """at: seconds since the beginning. sizes: kind of process -> bytes of all of them together."""

    at: float
    sizes: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes of all processes."""
        return sum(self.sizes.values())


def sample(at: float, pids: Mapping[str, int]) -> Sample:
    """Measure the processes. pids: name -> process."""
    sizes: dict[str, int] = {}
    for name, pid in pids.items():
        kind = name.rstrip("0123456789")
        sizes[kind] = sizes.get(kind, 0) + resident(pid)
    return Sample(at, sizes)


class Growth(NamedTuple):
    """The median sizes of all processes together, in bytes."""

    before: int
    after: int

    @property
    def is_too_much(self) -> bool:
        """Whether the growth is above the margin."""
        return self.after - self.before > self.before * MARGIN + MARGIN_BYTES


def growth(samples: Sequence[Sample], settle: float) -> Growth:
    """Compare the samples after the time to settle with the last ones.

    settle: seconds. Raises ValueError if the samples end before.
    """
    end = samples[-1].at if samples else 0.0
    window = end * WINDOW
    if end < settle + 2 * window:
        raise ValueError(f"{end:.0f} s of samples are too few after {settle:.0f} s")
    before = [one.total for one in samples if settle <= one.at <= settle + window]
    after = [one.total for one in samples if one.at >= end - window]
    return Growth(int(median(before)), int(median(after)))
