"""Tests of workers.drill.soak."""
