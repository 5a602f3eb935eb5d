"""What is told in one line of an error that keeps a node from starting."""

import json
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.startup_errors import HINT, is_permanent, one_line_summary
from cluster.core.exceptions import ConfigurationError
from cluster.core.wire_fields import NUMBER
from cluster.supervisor.control_connection import RegistrationRefused


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
        self.assertIn(f" ({self.path}, line 1)", told)

    def test_what_says_it_all(self) -> None:
        self.assertEqual(one_line_summary(ConfigurationError("no such bus")), "no such bus")
        self.assertEqual(
            one_line_summary(RegistrationRefused("the port is taken")), "the port is taken"
        )
        told = one_line_summary(ImproperlyConfigured("no SECRET_KEY"))
        self.assertEqual(told, f"ImproperlyConfigured: no SECRET_KEY; {HINT}")
        told = one_line_summary(ImportError("no module named app"))
        self.assertEqual(told, f"ImportError: no module named app; {HINT}")

    def test_errors_that_stay_until_the_site_is_corrected(self) -> None:
        for error in (
            ImportError("no module named app"),
            SyntaxError("invalid syntax"),
            ZeroDivisionError(),
            KeyError("SECRET"),
            ImproperlyConfigured("no SECRET_KEY"),
            ConfigurationError("C10K has an unknown key"),
        ):
            self.assertTrue(is_permanent(error), error)

    def test_errors_that_may_heal(self) -> None:
        for error in (
            OperationalError("the database is starting up"),
            ProgrammingError("there is no such table"),  # before the migration has run
            ConnectionRefusedError(),
            TimeoutError(),
            RegistrationRefused("the port is taken"),
            CannotListenError("127.0.0.1", 8000, OSError("in use")),
        ):
            self.assertFalse(is_permanent(error), error)

    def test_an_error_with_a_cause_that_may_heal(self) -> None:
        def raised(suppressed: bool) -> BaseException:
            try:
                try:
                    raise ConnectionRefusedError
                except ConnectionRefusedError as cause:
                    if suppressed:
                        raise ImproperlyConfigured("no cache") from None
                    raise ImproperlyConfigured("no cache") from cause
            except ImproperlyConfigured as error:
                return error

        self.assertFalse(is_permanent(raised(suppressed=False)))
        self.assertTrue(is_permanent(raised(suppressed=True)))

    def test_what_may_be_our_mistake_has_a_traceback(self) -> None:
        for call in (lambda: NUMBER.encode(-1), lambda: json.loads("{")):
            try:
                call()
            except Exception as error:
                assert error.__traceback__ is not None
                # As if a module of ours had called, rather than this test.
                error = error.with_traceback(error.__traceback__.tb_next.tb_next)  # type: ignore
                self.assertIsNone(one_line_summary(error))
