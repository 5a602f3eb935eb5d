"""Tests of workers.reporting."""
