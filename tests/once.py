"""Tests that run on one version of Python only.

What a page shows, what nginx or PostgreSQL do, and what the sources contain does not depend on
Python's version, and takes long. ``make test`` runs these on the oldest Python only; tox sets
C10K_TESTS=brief for the others. Where the oldest is not installed, every Python runs them.
"""

import os
import shutil
from typing import TypeVar

FULL = "python3.11"

IS_BRIEF = os.environ.get("C10K_TESTS") == "brief" and shutil.which(FULL) is not None

T = TypeVar("T", bound=type)


def once(case: T) -> T:
    """Skip a test case on all versions of Python but one."""
    if IS_BRIEF:
        case.skip = f"runs on {FULL} only"  # type: ignore[attr-defined]
    return case
