"""Tests of `workers.drill.machines`. Those of namespaces need root, and are skipped elsewhere."""
