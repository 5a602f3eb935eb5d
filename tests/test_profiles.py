"""Each test that Hypothesis drives has the settings of tests/profiles.py.

Without them it has Hypothesis' own: a deadline of 0.2 s for each example, whatever the machine has
to do besides.
"""

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

FOLDER = Path(__file__).parent

DRIVEN = re.compile(r"^from hypothesis", re.MULTILINE)
LOADED = re.compile(r"^from tests import profiles\b", re.MULTILINE)


class ProfilesTests(TestCase):
    def test_loaded_by_the_module_or_its_package(self) -> None:
        driven = [path for path in FOLDER.rglob("test_*.py") if DRIVEN.search(path.read_text())]
        self.assertTrue(driven)
        without = [
            str(path.relative_to(FOLDER))
            for path in driven
            if not any(
                LOADED.search(each.read_text()) for each in (path, path.with_name("__init__.py"))
            )
        ]
        self.assertEqual([], without)
