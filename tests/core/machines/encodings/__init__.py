"""Tests of cluster.core.machines.encodings."""
