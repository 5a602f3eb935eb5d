"""Each property test uses the settings of tests/profiles.py.

Hypothesis' defaults have a deadline of 0.2 s for each example, which is too short on a busy
machine.
"""

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

FOLDER = Path(__file__).parent

DRIVEN = re.compile(r"^from hypothesis", re.MULTILINE)
LOADED = re.compile(r"^from tests import profiles\b", re.MULTILINE)


def packages(path: Path) -> list[Path]:
    """Return the __init__.py of each package that contains a module, up to ``tests``."""
    return [
        parent / "__init__.py"
        for parent in path.parents
        if parent.is_relative_to(FOLDER) and (parent / "__init__.py").exists()
    ]


class ProfilesTests(TestCase):
    def test_the_profile_is_loaded_by_the_module_or_one_of_its_packages(self) -> None:
        driven = [path for path in FOLDER.rglob("test_*.py") if DRIVEN.search(path.read_text())]
        self.assertTrue(driven)
        without = [
            str(path.relative_to(FOLDER))
            for path in driven
            if not any(LOADED.search(each.read_text()) for each in (path, *packages(path)))
        ]
        self.assertEqual([], without)
