"""Clients that hold the conversation of transcript.py, with a pause before each of their messages.

    full    {}    all of this shard's clients are open at the same time
    done    {}    every client has come to its end, well or badly

At the end: "most", as many were open at once; "full_at", when that were all; "first_end", when the
first of them was not open any more; "reply", how long the server took to answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.load.echo_transcript import HEARD, SAID, Transcript, WrongTranscript
from workers.processes.client import Client, Plan
from workers.processes.shard import Shard, Tell
from workers.reporting.latency import Latencies

LOOK_EVERY = 1.0  # seconds between two searches for clients that have waited for too long


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoPlan(Plan):
    delay: float = 60.0  # seconds before each message


class EchoClient(Client):
    __slots__ = ("_since", "transcript")

    shard: "EchoShard"

    def __init__(self, shard: "EchoShard", number: int) -> None:
        super().__init__(shard, number)
        self.transcript = Transcript()
        self._since = 0.0  # when it said, or began to wait for, something

    def opened(self) -> None:
        self._since = monotonic()
        self.shard.client_opened()

    def received(self, messages: Sequence[bytes]) -> None:
        transcript = self.transcript
        try:
            answers = transcript.receive(messages)
        except WrongTranscript as error:
            self._give_up(str(error))
            return
        now = monotonic()
        if answers:
            self.shard.reply_times.append(now - self._since)
        self._since = now
        if transcript.may_speak:
            self.shard.timer_wheel.later(self.shard.delay, self._say)

    def _say(self) -> None:
        if self.connection is not None and not self.dropped:
            self._since = monotonic()
            self.connection.send(self.transcript.say())

    def look(self, since: float) -> None:
        """Give up if the server has owed something since before `since`."""
        if self.is_open and not self.dropped and self._since < since and not self._pausing:
            self._give_up("no reply in time")

    @property
    def _pausing(self) -> bool:
        return self.transcript.may_speak

    def _give_up(self, reason: str) -> None:
        self.drop()
        self.shard.fail(reason)
        self.shard.client_left()

    def closed(self, code: int, reason: str) -> None:
        transcript = self.transcript
        try:
            transcript.finish(code)
        except WrongTranscript as error:
            # A server that goes away, or sends clients away, has not got its words wrong.
            left = code != 1000 and transcript.heard < len(HEARD)
            self.shard.fail(why_closed(code, reason) if left else str(error))
        else:
            self.shard.tally["done"] += 1
        self.shard.client_left()


class EchoShard(Shard):
    """All clients of this kind in one process."""

    tallied = (*Shard.tallied, "done")

    def __init__(self, reactor: Any, plan: EchoPlan, number: int, tell: Tell) -> None:
        self.delay = plan.delay
        self.reply_times: list[float] = []
        self._replies = Latencies()
        self._most = 0
        self._full_at: float | None = None
        self._first_end: float | None = None
        self._ended = 0
        super().__init__(reactor, plan, number, tell)

    def client(self, number: int) -> Client:
        return EchoClient(self, number)

    def start(self) -> None:
        super().start()
        self._look()

    def _look(self) -> None:
        since = monotonic() - self._plan.timeout
        for client in self._clients:
            assert isinstance(client, EchoClient)
            client.look(since)
        if not self.closing:
            self.timers.after("look", LOOK_EVERY, self._look)

    def client_opened(self) -> None:
        self._most = max(self._most, self.tally["open"])
        if self.tally["open"] == len(self._clients):
            self._full_at = monotonic()
            self._tell_tally()
            self.tell("full", {})

    def client_left(self) -> None:
        if self._first_end is None:
            self._first_end = monotonic()
        self._one_ended()

    def not_opened(self, client: Client, reason: str) -> None:
        super().not_opened(client, reason)
        self._one_ended()

    def _one_ended(self) -> None:
        self._ended += 1
        if self._ended == len(self._clients):
            self.tell("done", {})

    def _fold(self) -> None:
        super()._fold()
        self._replies.add(self.reply_times)
        self.reply_times.clear()

    def figures(self) -> dict[str, Any]:
        return {
            "most": self._most,
            "full_at": self._full_at,
            "first_end": self._first_end,
            "reply": self._replies.counts(),
            "messages": len(SAID) * self.tally["done"],
        }
