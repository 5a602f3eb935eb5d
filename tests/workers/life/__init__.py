"""Tests of workers.life."""
