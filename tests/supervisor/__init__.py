"""Tests of cluster.supervisor."""

from tests import profiles

__all__ = ["profiles"]
