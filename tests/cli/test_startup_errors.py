"""What is told in one line of an error that keeps a node from starting."""

import json
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.startup_errors import HINT, one_line_summary
from cluster.core.exceptions import ConfigurationError
from cluster.core.wire_fields import NUMBER
from cluster.supervisor.control_connection import Refused


class StartupErrorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(sys, "path", [str(self.folder), *sys.path])

    def told(self, code: str) -> str | None:
        """What is told of a module of the site that has this code."""
        name = f"mistaken_{abs(hash(code))}"
        self.path = self.folder / f"{name}.py"
        self.path.write_text(code)
        self.addCleanup(sys.modules.pop, name, None)
        invalidate_caches()  # the folder was looked at in the same tick of its clock, perhaps
        try:
            import_module(name)
        except Exception as error:
            return one_line_summary(error)
        raise AssertionError("no error")

    def test_errors_in_the_sites_own_code(self) -> None:
        for code, said in (
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
            ("\n\nhandler", "NameError: name 'handler' is not defined"),
            ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ):
            line = len(code.split("\n"))
            self.assertEqual(self.told(code), f"{said} ({self.path}, line {line}); {HINT}")

    def test_the_place_is_the_site_s_also_if_a_library_raises(self) -> None:
        told = self.told("import json\n\njson.loads('{')")
        assert told is not None
        self.assertIn(f"({self.path}, line 3)", told)

    def test_code_that_cannot_be_read(self) -> None:
        told = self.told("def view(:\n")
        assert told is not None
        self.assertTrue(told.startswith("SyntaxError: "), told)
        self.assertIn(f"{self.path.name}, line 1)", told)

    def test_what_says_it_all(self) -> None:
        self.assertEqual(one_line_summary(ConfigurationError("no such bus")), "no such bus")
        self.assertEqual(one_line_summary(Refused("the port is taken")), "the port is taken")
        told = one_line_summary(ImproperlyConfigured("no SECRET_KEY"))
        self.assertEqual(told, f"ImproperlyConfigured: no SECRET_KEY; {HINT}")
        told = one_line_summary(ImportError("no module named app"))
        self.assertEqual(told, f"ImportError: no module named app; {HINT}")

    def test_what_may_be_our_mistake_has_a_traceback(self) -> None:
        for call in (lambda: NUMBER.encode(-1), lambda: json.loads("{")):
            try:
                call()
            except Exception as error:
                assert error.__traceback__ is not None
                # As if a module of ours had called, rather than this test.
                error = error.with_traceback(error.__traceback__.tb_next.tb_next)  # type: ignore
                self.assertIsNone(one_line_summary(error))
