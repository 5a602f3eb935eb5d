"""Tests of workers.processes."""
