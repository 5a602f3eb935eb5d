"""Tests of cluster.logs.python_logging."""

import contextvars
import logging
import sys
import threading
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from cluster.logs import python_logging
from cluster.logs.python_logging import (
    QUEUE_RECORDS,
    WEBSOCKET,
    PythonLogging,
    RootHandler,
    attach_root_handler,
    is_on_console,
    reopen_files,
)

PATIENCE_S = 60.0


class Records(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []
        self.threads: list[int] = []
        self.variables: list[object] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)
        self.threads.append(threading.get_ident())
        self.variables.append(variable.get(None))


variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")


class LoggingTestCase(SynchronousTestCase):
    """Restores the root logger. Twisted's log is ``self.events``."""

    def setUp(self) -> None:
        self.patch(logging.root, "handlers", [])
        self.events: list[LogEvent] = []
        self.logger = logging.getLogger(f"cluster.test.{self.id()}")

    def failure(self, **values: Any) -> LogEvent:
        """Return the event of an error in a handler."""
        events: list[LogEvent] = []
        try:
            raise KeyError("secret")
        except KeyError:
            observer: Any = events.append
            Logger(WEBSOCKET, observer=observer).failure("{path!r} failed", path="/a\x1b", **values)
        return events[0]

    def event(self, level: str, namespace: str = "cluster.node") -> LogEvent:
        return {
            "log_level": LogLevel.lookupByName(level),
            "log_namespace": namespace,
            "log_format": "100 %s {x}",
            "x": "y",
        }


class ForwardTests(LoggingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.records = Records()
        logging.root.addHandler(self.records)
        self.python_logging = PythonLogging()

    def test_an_error_has_exception_request_and_status(self) -> None:
        request = object()
        event = self.failure(request=request, status_code=500)
        self.assertFalse(self.python_logging.forward(event))
        (record,) = self.records.found
        self.assertEqual((record.name, record.levelno), (WEBSOCKET, logging.ERROR))
        self.assertEqual(record.getMessage(), r"'/a\x1b' failed")
        self.assertIs(record.exc_info[0], KeyError)
        self.assertIsNotNone(record.exc_info[2])
        self.assertIs(record.request, request)
        self.assertEqual(record.status_code, 500)

    def test_warnings_are_forwarded_and_messages_are_not(self) -> None:
        for level in ("debug", "info", "warn", "critical"):
            self.python_logging.forward(self.event(level))
        self.assertEqual([each.levelname for each in self.records.found], ["WARNING", "CRITICAL"])
        self.assertEqual(self.records.found[0].getMessage(), "100 %s y")
        self.assertFalse(hasattr(self.records.found[0], "request"))

    def test_what_came_from_python_is_not_sent_back(self) -> None:
        self.python_logging.forward({**self.event("error"), "log_record": object()})
        self.assertEqual(self.records.found, [])

    def test_the_level_of_the_logger_counts(self) -> None:
        quiet = logging.getLogger("cluster.quiet")
        quiet.setLevel(logging.CRITICAL)
        self.python_logging.forward(self.event("error", "cluster.quiet"))
        self.assertEqual(self.records.found, [])

    def test_without_handlers_python_prints_nothing(self) -> None:
        logging.root.handlers.clear()
        self.patch(sys, "stderr", StringIO())
        self.assertFalse(self.python_logging.forward(self.event("error")))
        self.assertEqual(sys.stderr.getvalue(), "")  # type: ignore[attr-defined]

    def test_a_console_handler_prints_it(self) -> None:
        stream = StringIO()
        self.patch(sys, "stderr", stream)
        logging.root.addHandler(logging.StreamHandler(stream))
        self.assertTrue(self.python_logging.forward(self.failure()))
        self.assertIn("KeyError", stream.getvalue())

    def test_handlers_run_in_a_thread_with_the_context(self) -> None:
        self.python_logging.start()
        contextvars.copy_context().run(self._forward_with_variable)
        self.python_logging.stop(PATIENCE_S)
        self.assertNotEqual(self.records.threads, [threading.get_ident()])
        self.assertEqual(self.records.variables, ["of the request"])
        self.assertEqual(self.python_logging.dropped, 0)

    def test_a_handler_that_raises_affects_no_other_record(self) -> None:
        stream = StringIO()
        self.patch(sys, "stderr", stream)
        self.records.addFilter(lambda record: 1 / 0 if record.levelname == "WARNING" else True)
        self.assertFalse(self.python_logging.forward(self.event("warn")))
        python_logging._call_all(
            [
                lambda: self.python_logging.forward(self.event("warn")),
                lambda: self.python_logging.forward(self.event("error")),
            ]
        )
        self.assertEqual([each.levelname for each in self.records.found], ["ERROR"])
        self.assertEqual(stream.getvalue().count("ZeroDivisionError"), 2)

    def test_what_the_thread_cannot_take_is_left_to_the_caller(self) -> None:
        entered, gate = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        stream = StringIO()
        self.patch(sys, "stderr", stream)
        handler = logging.StreamHandler(stream)
        handler.addFilter(lambda record: entered.set() or gate.wait(PATIENCE_S) or True)
        self.patch(python_logging, "is_on_console", lambda record: True)
        logging.root.addHandler(handler)
        self.python_logging.start()
        self.assertTrue(self.python_logging.forward(self.event("error")))
        self.assertTrue(entered.wait(PATIENCE_S))
        printed = [
            self.python_logging.forward(self.event("error")) for _ in range(QUEUE_RECORDS + 10)
        ]
        self.assertEqual(printed.count(False), self.python_logging.dropped)
        self.assertGreaterEqual(self.python_logging.dropped, 10)
        gate.set()
        self.python_logging.stop(PATIENCE_S)

    def _forward_with_variable(self) -> None:
        variable.set("of the request")
        self.python_logging.forward(self.failure())


class RootHandlerTests(LoggingTestCase):
    def setUp(self) -> None:
        super().setUp()
        attach_root_handler(self.events.append)

    def test_an_error_of_a_view_has_its_traceback(self) -> None:
        request = SimpleNamespace(path="/")
        try:
            raise KeyError("secret")
        except KeyError:
            self.logger.exception(
                "%s: {braces}", "x", extra={"request": request, "status_code": 500}
            )
        (event,) = self.events
        self.assertIs(event["log_level"], LogLevel.error)
        self.assertEqual(event["log_namespace"], self.logger.name)
        self.assertEqual(event["text"], "x: {braces}")
        self.assertIs(event["log_failure"].type, KeyError)
        self.assertIs(event["request"], request)
        self.assertEqual(event["status_code"], 500)

    def test_errors_of_clients_and_messages_are_left_out(self) -> None:
        self.logger.setLevel(logging.DEBUG)
        self.logger.warning("Not Found: /x", extra={"status_code": 404})
        self.logger.info("hello")
        self.assertEqual(self.events, [])
        self.logger.warning("hello")
        self.logger.critical("hello")
        self.assertEqual([event["log_level"].name for event in self.events], ["warn", "critical"])

    def test_what_came_from_twisted_is_not_sent_back(self) -> None:
        PythonLogging().forward(self.failure())
        self.assertEqual(self.events, [])

    def test_what_a_console_handler_prints_is_left_out(self) -> None:
        stream = StringIO()
        self.patch(sys, "stdout", stream)
        self.logger.addHandler(logging.StreamHandler(stream))
        self.logger.error("oops")
        self.assertEqual(self.events, [])
        self.assertEqual(stream.getvalue(), "oops\n")

    def test_a_record_that_cannot_be_formatted_raises_nothing(self) -> None:
        self.patch(sys, "stderr", StringIO())
        self.logger.error("%d", "no number")
        self.assertEqual(self.events, [])

    def test_a_site_with_handlers_of_its_own_has_no_other(self) -> None:
        logging.root.handlers[:] = [Records()]
        attach_root_handler(self.events.append)
        self.assertEqual(len(logging.root.handlers), 1)
        self.assertNotIsInstance(logging.root.handlers[0], RootHandler)


class ConsoleTests(LoggingTestCase):
    def record(self, level: int = logging.ERROR) -> logging.LogRecord:
        return self.logger.makeRecord(self.logger.name, level, "", 0, "x", (), None)

    def test_level_filters_and_propagation_count(self) -> None:
        self.patch(sys, "stderr", StringIO())
        handler = logging.StreamHandler(sys.stderr)
        logging.root.addHandler(handler)
        self.assertTrue(is_on_console(self.record()))
        handler.setLevel(logging.CRITICAL)
        self.assertFalse(is_on_console(self.record()))
        self.assertTrue(is_on_console(self.record(logging.CRITICAL)))
        handler.addFilter(lambda record: False)
        self.assertFalse(is_on_console(self.record(logging.CRITICAL)))
        handler.filters.clear()
        self.logger.propagate = False
        self.assertFalse(is_on_console(self.record(logging.CRITICAL)))

    def test_other_streams_are_no_console(self) -> None:
        logging.root.addHandler(logging.StreamHandler(StringIO()))
        self.assertFalse(is_on_console(self.record()))


class ReopenTests(LoggingTestCase):
    def test_a_file_of_logging_that_was_moved_is_opened_again(self) -> None:
        path = Path(self.mktemp())
        handler = logging.FileHandler(path)
        self.addCleanup(handler.close)
        self.logger.addHandler(handler)
        self.logger.error("one")
        moved = path.rename(f"{path}.1")
        reopen_files()
        reopen_files()
        self.logger.error("two")
        self.assertEqual(moved.read_text(), "one\n")
        self.assertEqual(path.read_text(), "two\n")
