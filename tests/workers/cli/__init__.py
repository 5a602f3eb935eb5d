"""Tests of workers.cli."""
