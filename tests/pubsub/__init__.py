"""Tests of cluster.pubsub."""

from tests import profiles

__all__ = ["profiles"]
