"""Tests of cluster.core.machines."""
