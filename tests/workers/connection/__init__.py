"""Tests of workers.connection."""
