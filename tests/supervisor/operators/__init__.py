"""Tests of cluster.supervisor.operators."""
