"""The file in which a broker records what topics retain, so that the next broker continues with it.

A topic with subscribers is also in the memory of their nodes (pubsub.history_cache). Other topics
are only here. The rules:

* the file is a sequence of records: a u32 length, and an encoded wire.Retained message, as a node
  with a subscription to the topic receives it. The next broker processes them as such a node does,
  so a record that comes twice has no effect;
* publications are written FLUSH_S after they were numbered, many in one system call. What is
  written survives the death of the process (not that of the machine, because nobody waits for a
  disk). What was not written yet is sent again by the nodes, which keep it longer
  (pubsub.history_outbox);
* when the file has become much larger than what is retained, another one is written beside it with
  all topics, a few frames at a time, and then takes its place. So the loop never waits for long,
  and the file is complete at any time. A long topic takes several records; the frames that it
  receives meanwhile come last, and those that it drops before they are written are left out;
* the whole file is read at once: the broker serves nobody before it knows the history;
* a file that cannot be written, because the disk is full or the folder is gone, is given up, and
  begun again RETRY_S later. Meanwhile topics without subscribers are not safe: ``errors`` counts
  it, and the log says it.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from twisted.logger import Logger

from cluster.core import wire
from cluster.core.broker_state.exchange import Outgoing
from cluster.core.broker_state.retained_topic import Position
from cluster.core.broker_state.topic_history import RetainedFrames
from cluster.core.exceptions import WireError
from cluster.pubsub.history_cache import HistoryCache

FLUSH_S = 0.05
"""Seconds from a publication to its record; short against GRACE_S of pubsub.history_outbox."""

SLACK_BYTES = 16 << 20
"""The file is written again when it has more than this and twice the bytes that are retained."""

SLICE_BYTES = 1 << 20
SLICE_S = 0.01
"""Bytes of frames that are written at a time to the new file, and seconds between two times."""

RETRY_S = 10.0
"""Seconds until a file that could not be written is begun again."""


class State(Protocol):
    """The state of a broker: an Exchange (core.broker_state), or a Gateway (core.machines)."""

    on_retained: Callable[[wire.Retained], object]

    @property
    def nodes(self) -> tuple[str, ...]: ...

    @property
    def retained(self) -> RetainedFrames: ...

    def receive(self, node: str, message: wire.Message, now: int = 0) -> Outgoing: ...

    def leave(self, node: str, ended: bool = False) -> Outgoing: ...

    def load(self, messages: Iterable[wire.Restore], now: int) -> None: ...

    def history(self, topic: bytes, now: int) -> wire.Retained | None: ...


class HistoryFile:
    """Call ``load`` once, then ``record`` for each message that changes what a topic retains.

    Args:
        path: The file; another one with the suffix ".new" is beside it at times.
        exchange: The state of the broker.
        clock: The reactor.
        now: Returns Unix time in milliseconds.
    """

    log = Logger()

    def __init__(self, path: str, exchange: State, clock: Any, now: Callable[[], int]) -> None:
        self.size = 0
        self.errors = 0
        self._path = path
        self._exchange = exchange
        self._clock = clock
        self._now = now
        self._file = -1
        self._new_file = -1
        self._new_size = 0
        # The topics that the new file does not have yet; the next one is the last.
        self._missing: dict[bytes, None] = {}
        # How far the new file has the next one: the epoch and the offset of a frame.
        self._written: Position = "", 0
        self._unwritten: list[wire.Retained] = []
        self._flush_timer: Any = None
        self._slice_timer: Any = None

    def load(self) -> None:
        """Continue with what the previous broker has recorded, and begin a file."""
        cache = HistoryCache(self._now, Counter())
        for message in self._read():
            cache.receive(message)
        self._exchange.load(cache.restores(), self._now())
        topics = len(self._exchange.retained.topics())
        if topics:
            self.log.info("continuing the history of {topics:,} topics", topics=topics)
        self._begin()

    def record(self, message: wire.Retained) -> None:
        """Record new frames of a topic, or all that it retains."""
        self._unwritten.append(message)
        if self._flush_timer is None:
            self._flush_timer = self._clock.callLater(FLUSH_S, self._flush)

    def begin_again(self) -> None:
        """Write a new file, because the old one is gone."""
        self._give_up()
        self._begin()

    def stop(self) -> None:
        """Write what is left. The file stays, for the next broker."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush()
        self._close()

    def _close(self) -> None:
        if self._slice_timer is not None:
            self._slice_timer.cancel()
            self._slice_timer = None
        for descriptor in (self._file, self._new_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._new_file = -1

    # Reading.

    def _read(self) -> Iterator[wire.Retained]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        except OSError as error:
            self.log.error("cannot read {path}: {error}", path=self._path, error=error.strerror)
            return
        with os.fdopen(descriptor, "rb") as file:
            while head := file.read(4):
                try:
                    message = wire.decode(file.read(int.from_bytes(head, "little")))
                except WireError:
                    message = wire.UnknownNode()
                if not isinstance(message, wire.Retained):
                    # The broker was killed while it wrote the last record.
                    self.log.warn("{path} ends with an incomplete record", path=self._path)
                    return
                yield message

    # Writing.

    def _flush(self) -> None:
        self._flush_timer = None
        messages, self._unwritten = self._unwritten, []
        records = [_record(message) for message in messages]
        try:
            if self._file >= 0:
                self.size += _write(self._file, b"".join(records))
            if self._new_file >= 0:
                missing = self._missing
                self._new_size += _write(
                    self._new_file,
                    b"".join(
                        record
                        for record, message in zip(records, messages, strict=True)
                        if message.topic not in missing
                    ),
                )
        except OSError as error:
            self._failed(error)
            return
        if self._new_file < 0 and self.size > SLACK_BYTES + 2 * self._exchange.retained.size:
            self._begin()

    def _begin(self) -> None:
        """Begin a new file with all topics."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._new_file = os.open(f"{self._path}.new", flags, 0o600)
        except OSError as error:
            self._failed(error)
            return
        self._new_size = 0
        self._missing = dict.fromkeys(reversed(self._exchange.retained.topics()))
        self._written = "", 0
        self._write_slice()

    def _write_slice(self) -> None:
        self._slice_timer = None
        records: list[bytes] = []
        size = 0
        while self._missing and size < SLICE_BYTES:
            topic = next(reversed(self._missing))
            part = self._next_part(topic)
            if part is None:
                del self._missing[topic]
                self._written = "", 0
            else:
                records.append(_record(part))
                size += len(records[-1])
        try:
            self._new_size += _write(self._new_file, b"".join(records))
            if not self._missing:
                self._complete()
                return
        except OSError as error:
            self._failed(error)
            return
        self._slice_timer = self._clock.callLater(SLICE_S, self._write_slice)

    def _next_part(self, topic: bytes) -> wire.Retained | None:
        """The next frames of a topic for the new file; None if it has all."""
        kept = self._exchange.history(topic, self._now())
        if kept is None or self._written == (kept.epochs, kept.offset):
            return None
        first = kept.offset - len(kept.frames)  # the offset before the oldest frame
        epochs, written = self._written
        is_continued = epochs == kept.epochs and first <= written < kept.offset
        start = written - first if is_continued else 0
        frames: list[bytes] = []
        size = 0
        for frame in islice(kept.frames, start, None):
            frames.append(frame)
            size += len(frame)
            if size >= SLICE_BYTES:
                break
        end = start + len(frames)
        self._written = kept.epochs, first + end
        return replace(
            kept,
            # Not that of the topic: what was written before may have frames that the topic has lost
            # since, and the next publication says the depth anyway.
            depth=end or kept.depth,
            offset=first + end,
            frames=tuple(frames),
            expires=kept.expires[start:end],
            full=not is_continued,
        )

    def _complete(self) -> None:
        os.replace(f"{self._path}.new", self._path)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._new_file = self._new_file, -1
        self.size = self._new_size

    # Errors.

    def _failed(self, error: OSError) -> None:
        self.errors += 1
        self.log.error(
            "cannot write {path}: {error}. The history of topics without subscribers would be lost"
            " with this process; trying again in {seconds:.0f} s",
            path=self._path,
            error=error.strerror,
            seconds=RETRY_S,
        )
        self._give_up()
        self._slice_timer = self._clock.callLater(RETRY_S, self._begin_later)

    def _begin_later(self) -> None:
        self._slice_timer = None
        self._begin()

    def _give_up(self) -> None:
        self._close()
        self.size = 0
        for path in (self._path, f"{self._path}.new"):
            with suppress(OSError):  # it is gone, or the folder cannot be written
                os.unlink(path)


def _record(message: wire.Retained) -> bytes:
    data = wire.encode(message)
    return len(data).to_bytes(4, "little") + data


def _write(descriptor: int, data: bytes) -> int:
    """Write all of it; returns its length."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(data)
