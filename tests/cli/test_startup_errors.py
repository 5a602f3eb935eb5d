"""Tests of cluster.cli.startup_errors: one-line summaries, and which errors are permanent."""

import errno
import json
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path

import zmq
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.startup_errors import HINT, is_permanent, one_line_summary
from cluster.core.exceptions import ConfigurationError
from cluster.core.wire.fields import NUMBER
from cluster.supervisor.control_connection.commands import RegistrationRefused


class StartupErrorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(sys, "path", [str(self.folder), *sys.path])

    def summary_of(self, code: str) -> str | None:
        """Import a module of the site with this code; returns the summary of its error."""
        name = f"broken_{abs(hash(code))}"
        self.path = self.folder / f"{name}.py"
        self.path.write_text(code)
        self.addCleanup(sys.modules.pop, name, None)
        invalidate_caches()  # the folder may have been cached in the same tick of its clock
        try:
            import_module(name)
        except Exception as error:
            return one_line_summary(error)
        raise AssertionError("no error")

    def test_the_summary_of_a_site_error_has_the_line(self) -> None:
        for code, expected in (
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
            ("\n\nhandler", "NameError: name 'handler' is not defined"),
            ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ):
            line = len(code.split("\n"))
            self.assertEqual(
                self.summary_of(code), f"{expected} ({self.path}, line {line}); {HINT}"
            )

    def test_the_line_is_in_the_site_even_if_a_library_raises(self) -> None:
        summary = self.summary_of("import json\n\njson.loads('{')")
        assert summary is not None
        self.assertIn(f"({self.path}, line 3)", summary)

    def test_sources_of_a_compiled_library_are_not_the_sites(self) -> None:
        """Cython's tracebacks have paths of sources relative to the folder of the build."""
        library = self.folder / "library.py"
        library.write_text("exec(compile('json', 'compiled/library.pyx', 'exec'))")
        summary = self.summary_of("\n\nimport library")
        assert summary is not None
        self.assertIn(f"({self.path.with_name('library.py')}, line 1)", summary)

    def test_the_summary_of_a_syntax_error_has_the_line(self) -> None:
        summary = self.summary_of("def view(:\n")
        assert summary is not None
        self.assertTrue(summary.startswith("SyntaxError: "), summary)
        self.assertIn(f" ({self.path}, line 1)", summary)

    def test_errors_outside_the_sites_code_have_no_line(self) -> None:
        self.assertEqual(one_line_summary(ConfigurationError("no such bus")), "no such bus")
        self.assertEqual(
            one_line_summary(RegistrationRefused("the port is taken")), "the port is taken"
        )
        summary = one_line_summary(ImproperlyConfigured("no SECRET_KEY"))
        self.assertEqual(summary, f"ImproperlyConfigured: no SECRET_KEY; {HINT}")
        summary = one_line_summary(ImportError("no module named app"))
        self.assertEqual(summary, f"ImportError: no module named app; {HINT}")

    def test_programming_errors_are_permanent(self) -> None:
        for error in (
            ImportError("no module named app"),
            SyntaxError("invalid syntax"),
            ZeroDivisionError(),
            KeyError("SECRET"),
            ImproperlyConfigured("no SECRET_KEY"),
            ConfigurationError("C10K has an unknown key"),
        ):
            self.assertTrue(is_permanent(error), error)

    def test_errors_of_services_are_temporary(self) -> None:
        for error in (
            OperationalError("the database is starting up"),
            ProgrammingError("there is no such table"),  # the migration may not have run yet
            ConnectionRefusedError(),
            TimeoutError(),
            RegistrationRefused("the port is taken"),
            CannotListenError("127.0.0.1", 8000, OSError("in use")),
        ):
            self.assertFalse(is_permanent(error), error)

    def test_an_error_with_a_temporary_cause_is_temporary(self) -> None:
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

    def test_errors_of_the_machine_have_a_summary_without_a_line(self) -> None:
        taken = CannotListenError("127.0.0.1", 8000, OSError("in use"))
        self.assertEqual(
            one_line_summary(taken), "CannotListenError: Couldn't listen on 127.0.0.1:8000: in use."
        )
        busy = zmq.ZMQError(errno.EADDRINUSE)
        self.assertEqual(one_line_summary(busy), "ZMQError: Address already in use")
        full = OSError(errno.ENOSPC, "No space left on device", "/run/publish-0.sock")
        summary = one_line_summary(full)
        assert summary is not None
        self.assertTrue(summary.endswith("No space left on device: '/run/publish-0.sock'"), summary)

    def test_a_possible_bug_of_c10k_has_no_summary(self) -> None:
        for call in (lambda: NUMBER.encode(-1), lambda: json.loads("{")):
            try:
                call()
            except Exception as error:
                assert error.__traceback__ is not None
                # Without the frame of this test, which does not belong to the package.
                error = error.with_traceback(error.__traceback__.tb_next.tb_next)  # type: ignore
                self.assertIsNone(one_line_summary(error))
