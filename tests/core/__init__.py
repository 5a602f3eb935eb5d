"""Tests of cluster.core, with plain values. ``simulation`` is a cluster without I/O."""

from tests import profiles

__all__ = ["profiles"]
