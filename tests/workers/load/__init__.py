"""Tests of workers.load."""
