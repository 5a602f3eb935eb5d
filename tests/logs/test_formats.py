"""Tests of cluster.logs.formats."""

import json
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python import log as legacy_log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.logs.formats import MAX_TEXT, JsonFormat, TextFormat, level_of
from cluster.logs.untrusted_text import Block

TIME = 1_795_790_673.25


def emit(
    format: str, level: str = "info", namespace: str = "cluster.node", **values: Any
) -> LogEvent:
    """Return the event that Twisted's log receives."""
    events: list[LogEvent] = []
    log = Logger(namespace, observer=events.append)  # type: ignore[arg-type]
    log.emit(LogLevel.lookupByName(level), format, **values)
    return {**events[0], "log_time": TIME}


def failed(text: str) -> Failure:
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


class TextTests(SynchronousTestCase):
    def lines(self, event: LogEvent) -> list[str]:
        """Return the lines without the time."""
        *lines, rest = TextFormat().event(event, "node0").decode().split("\n")
        self.assertEqual(rest, "")
        for line in lines:
            self.assertTrue(line.startswith("2026-11-27T14:44:33+0000 ["), line)
        return [line.partition(" ")[2] for line in lines]

    def test_process_level_and_message(self) -> None:
        self.assertEqual(self.lines(emit("{a} is ready", a="x")), ["[node0#info] x is ready"])
        self.assertEqual(self.lines(emit("no", "warn")), ["[node0#warn] no"])

    def test_the_supervisor_may_name_another_process(self) -> None:
        event = emit("x", "critical", log_system="node3#critical")
        self.assertEqual(self.lines(event), ["[node3#critical] x"])

    def test_values_cannot_forge_lines_or_control_a_terminal(self) -> None:
        event = emit("{uri} {error}", uri="/\x1b[2J\n2026 [c10k#info]", error=ValueError("a\r\nb"))
        self.assertEqual(
            self.lines(event), [r"[node0#info] /\x1b[2J\x0a2026 [c10k#info] a\x0d\x0ab"]
        )

    def test_a_block_has_lines_that_are_marked(self) -> None:
        event = emit("blocked{seen}", seen=Block("\nline 1\nline\x1b 2"))
        self.assertEqual(
            self.lines(event),
            ["[node0#info] blocked", "[node0#info] | line 1", r"[node0#info] | line\x1b 2"],
        )

    def test_a_traceback_is_logged_as_an_error_with_its_causes(self) -> None:
        try:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("a\n2026 [node0#info] forged \x1b") from error
        except ValueError:
            failure = Failure()
        lines = self.lines(emit("it failed", "critical", log_failure=failure))
        self.assertEqual(lines[0], "[node0#error] it failed")
        self.assertEqual(lines[1], "[node0#error] | Traceback (most recent call last):")
        self.assertIn("[node0#error] | KeyError: 'inner'", lines)
        self.assertEqual(lines[-2], "[node0#error] | ValueError: a")
        self.assertEqual(lines[-1], r"[node0#error] | 2026 [node0#info] forged \x1b")

    def test_a_failure_that_a_deferred_has_cleaned_has_its_frames(self) -> None:
        failure = failed("x")
        failure.cleanFailure()
        lines = self.lines(emit("", "critical", log_failure=failure))
        self.assertIn("Traceback (most recent call last)", "".join(lines))
        self.assertIn("builtins.ValueError: x", lines[-1])

    def test_a_text_that_is_too_long_is_cut(self) -> None:
        (line,) = self.lines(emit("{x}", x="y" * (MAX_TEXT + 1234)))
        self.assertTrue(line.endswith("y… 1,234 characters more"))

    def test_events_of_libraries_keep_their_lines(self) -> None:
        self.assertEqual(
            self.lines(emit("one\ntwo \x1b", namespace="twisted.web")),
            ["[node0#info] one", r"[node0#info] | two \x1b"],
        )

    def test_a_message_that_cannot_be_formatted(self) -> None:
        (line,) = self.lines(emit("{missing}\x1b"))
        self.assertIn("Unable to format event", line)

    def test_lone_surrogates_are_escaped(self) -> None:
        self.assertEqual(self.lines(emit("{x}", x="caf\udce9")), [r"[node0#info] caf\udce9"])

    def test_printed_lines(self) -> None:
        line = TextFormat().output("a\x1b{b}", "stdout", "node1", TIME).decode()
        self.assertTrue(line.endswith(" [node1#info] a\\x1b{b}\n"), line)


class Request:
    method = "GET"
    path = "/chat/"
    META = {"REMOTE_ADDR": "192.0.2.1"}  # noqa: RUF012 (as a request has it)


class JsonTests(SynchronousTestCase):
    def object(self, event: LogEvent) -> dict[str, Any]:
        line = JsonFormat().event(event, "node0")
        self.assertTrue(line.endswith(b"\n"))
        self.assertTrue(line[:-1].isascii() and line[:-1].decode().isprintable())
        found: dict[str, Any] = json.loads(line)
        return found

    def test_the_fields_of_every_line(self) -> None:
        self.assertEqual(
            self.object(emit("{name} ready", name="café", count=3, data=b"\xff")),
            {
                "time": "2026-11-27T14:44:33.250000+00:00",
                "level": "info",
                "logger": "cluster.node",
                "process": "node0",
                "message": "café ready",
                "name": "café",
                "count": 3,
                "data": "\\xff",
            },
        )

    def test_exception_and_request(self) -> None:
        event = emit(
            "failed", "critical", log_failure=failed("x"), request=Request(), status_code=500
        )
        found = self.object(event)
        self.assertEqual(found["level"], "error")
        self.assertIn("ValueError: x", found["exception"])
        self.assertNotIn("request", found)
        self.assertEqual(
            {name: found[name] for name in ("method", "path", "client", "status_code")},
            {"method": "GET", "path": "/chat/", "client": "192.0.2.1", "status_code": 500},
        )

    def test_values_do_not_replace_the_common_fields(self) -> None:
        found = self.object(emit("{level}", level_="x", process="other", **{"logger": "mine"}))
        self.assertEqual((found["process"], found["logger"]), ("node0", "cluster.node"))

    def test_values_that_json_does_not_have(self) -> None:
        class Unprintable:
            def __str__(self) -> str:
                raise ZeroDivisionError

        self.assertIn("Unprintable", self.object(emit("x", value=Unprintable()))["value"])
        circular: dict[Any, Any] = {(1, 2): 3}
        self.assertEqual(self.object(emit("x", value=circular, n=1))["value"], "{(1, 2): 3}")
        circular["self"] = circular
        found = self.object(emit("x", value=circular, n=1))
        self.assertEqual((found["message"], found["n"]), ("x", "1"))

    def test_the_supervisor_may_name_another_process(self) -> None:
        self.assertEqual(self.object(emit("x", log_system="node3#info"))["process"], "node3")

    def test_events_of_twisteds_older_log(self) -> None:
        events: list[LogEvent] = []
        observer: Any = events.append
        legacy_log.addObserver(observer)
        self.addCleanup(legacy_log.removeObserver, observer)
        legacy_log.msg("older")
        event = {"log_time": TIME, "log_level": LogLevel.info, "log_format": "older", **events[0]}
        self.assertEqual(self.object(event)["message"], "older")

    def test_printed_lines(self) -> None:
        found = json.loads(JsonFormat().output("a\x1b", "stderr", "node1", TIME))
        self.assertEqual(
            (found["level"], found["logger"], found["process"], found["message"]),
            ("info", "stderr", "node1", "a\x1b"),
        )


class LevelTests(SynchronousTestCase):
    def test_an_exception_is_an_error(self) -> None:
        self.assertIs(level_of({"log_level": LogLevel.critical}), LogLevel.critical)
        event = {"log_level": LogLevel.critical, "log_failure": failed("x")}
        self.assertIs(level_of(event), LogLevel.error)
        self.assertIs(level_of({}), LogLevel.info)
