"""The pure core: plain values in, plain values out. ``simulation`` is a cluster without I/O."""

from tests import profiles

__all__ = ["profiles"]
