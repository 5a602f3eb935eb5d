r"""Formats an event of Twisted's log as lines of text, or as one line of JSON.

Text. The lines after the first one of an event begin with "| ", so that nothing in a traceback can
look like another event::

    2026-11-27T14:44:33+0000 [node0#error] a WebSocket handler of '/chat/' failed
    2026-11-27T14:44:33+0000 [node0#error] | Traceback (most recent call last):

JSON::

    {"time": "2026-11-27T14:44:33.123456+00:00", "level": "error", "logger": "django.request…",
     "process": "node0", "message": "…", "exception": "Traceback …", "path": "/chat/"}

The values in a message are escaped (untrusted_text.py), except those of the type Block.
"""

import json
import string
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from time import gmtime, strftime
from typing import Any, Protocol

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from cluster.logs.untrusted_text import Block, escape, escape_block

MAX_TEXT = 32 << 10
"""Characters of an event that are logged: more than any traceback, less than a message of a client
in the text of an exception may have."""

OURS = "cluster."

URGENT = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})


class Format(Protocol):
    """How lines look."""

    def event(self, event: LogEvent, process: str) -> bytes:
        """The lines of an event, each with its line end."""

    def output(self, text: str, stream: str, process: str, time: float) -> bytes:
        """The line of something that the site printed to a stream, "stdout" or "stderr"."""


class TextFormat:
    """Lines for people."""

    def event(self, event: LogEvent, process: str) -> bytes:
        level = level_of(event).name
        system = event.get("log_system") or "-"
        name = system if "#" in system else f"{process}#{level}"
        head = f"{_utc(event.get('log_time'))} [{escape(name)}] "
        parts = [message_of(event), exception_of(event)]
        lines = "\n".join(_shortened(part.rstrip("\n")) for part in parts if part).split("\n")
        text = f"\n{head}| ".join(lines)
        return f"{head}{text}\n".encode("utf-8", "backslashreplace")

    def output(self, text: str, stream: str, process: str, time: float) -> bytes:
        line = f"{_utc(time)} [{process}#info] {escape(text)}\n"
        return line.encode("utf-8", "backslashreplace")


class JsonFormat:
    """Lines for programs: one object each, in ASCII."""

    def event(self, event: LogEvent, process: str) -> bytes:
        system = event.get("log_system") or ""
        fields: dict[str, Any] = {
            "time": _iso(event.get("log_time")),
            "level": level_of(event).name,
            "logger": event.get("log_namespace", ""),
            "process": system.partition("#")[0] if "#" in system else process,
            "message": _shortened(message_of(event)),
        }
        exception = exception_of(event)
        if exception:
            fields["exception"] = _shortened(exception)
        for name, value in fields_of(event).items():
            fields.setdefault(name, value)
        try:
            line = json.dumps(fields, default=_text_of)
        except (TypeError, ValueError):  # keys that are not text, a circular reference
            line = json.dumps({name: _text_of(value) for name, value in fields.items()})
        return line.encode() + b"\n"

    def output(self, text: str, stream: str, process: str, time: float) -> bytes:
        fields = {
            "time": _iso(time),
            "level": "info",
            "logger": stream,
            "process": process,
            "message": text,
        }
        return json.dumps(fields).encode() + b"\n"


FORMATS: dict[str, type[Format]] = {"text": TextFormat, "json": JsonFormat}
"""The values of --log-format."""


class _EscapingFormatter(string.Formatter):
    """str.format, with each value escaped."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        text = super().format_field(value, format_spec)
        return escape_block(text) if isinstance(value, Block) else escape(text)


_FORMATTER = _EscapingFormatter()


def message_of(event: LogEvent) -> str:
    """The message of an event, without the traceback. Only blocks in it have line ends."""
    if str(event.get("log_namespace", "")).startswith(OURS) or "log_record" in event:
        try:
            return _FORMATTER.vformat(event["log_format"], (), event)
        except Exception:
            return escape(formatEvent(event))
    return escape_block(formatEvent(event))


def exception_of(event: LogEvent) -> str:
    """The traceback of an event, with those of causes; "" if it has none."""
    failure = event.get("log_failure")
    if not isinstance(failure, Failure):
        return ""
    value = failure.value
    if value is not None and value.__traceback__ is not None:
        text = "".join(traceback.format_exception(value))
    else:
        text = failure.getTraceback()  # a Deferred keeps the frames as text only
    return escape_block(text)


def level_of(event: LogEvent) -> Any:
    """The level of an event: that of an exception is error, which Twisted would log as critical."""
    level = event.get("log_level", LogLevel.info)
    return LogLevel.error if level is LogLevel.critical and "log_failure" in event else level


def fields_of(event: LogEvent) -> dict[str, Any]:
    """The values of an event for a program: those of its message, and those of its request."""
    fields = {
        name: value
        for name, value in event.items()
        if not name.startswith("log_") and name not in _NO_FIELDS
    }
    request = event.get("request")
    if request is not None:
        meta: Mapping[str, Any] = getattr(request, "META", {})
        fields["method"] = getattr(request, "method", None)
        fields["path"] = getattr(request, "path", None)
        fields["client"] = meta.get("REMOTE_ADDR")
    return fields


_NO_FIELDS = frozenset(
    # of the message itself, and those that Twisted's older log adds
    {"request", "text", "line", "message", "time", "system", "isError", "failure", "why", "format"}
)


def _shortened(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}… {len(text) - MAX_TEXT:,} characters more"


def _utc(time: float | None) -> str:
    # Not the local time: Django sets that of its process to TIME_ZONE, and all processes of a
    # cluster write to one log.
    return "-" if time is None else strftime("%Y-%m-%dT%H:%M:%S+0000", gmtime(time))


def _iso(time: float | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat()


def _text_of(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return safe_str(value)
