"""Tests of workers: clients, games, command line."""

from tests import profiles

__all__ = ["profiles"]
