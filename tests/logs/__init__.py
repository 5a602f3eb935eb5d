"""Tests of cluster.logs."""

from tests import profiles

__all__ = ["profiles"]
