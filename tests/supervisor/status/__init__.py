"""Tests of cluster.supervisor.status."""
