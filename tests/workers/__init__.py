"""The swarm: its clients, its games, its command line."""

from tests import profiles

__all__ = ["profiles"]
