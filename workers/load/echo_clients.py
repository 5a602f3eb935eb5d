"""Clients that hold the conversation of echo_verification.py, with a pause before each message.

    full  {}    all clients of this shard are open at the same time
    done  {}    the last client of this shard has ended its conversation, or has failed

"ended" adds: "most", how many clients were open at the same time; "full_at", when all were;
"first_end", when the first of them was closed; "reply", a histogram of the times that the
server took to reply; "messages", how many replies the finished clients have received.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.load.echo_verification import (
    CLIENT_MESSAGES,
    SERVER_MESSAGES,
    Transcript,
    WrongTranscript,
)
from workers.processes.client import Client
from workers.processes.plan import Plan
from workers.processes.shard import Emit, Shard
from workers.reporting.latency import Latencies

LOOK_EVERY = 1.0  # seconds between two checks for overdue replies


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoPlan(Plan):
    delay: float = 60.0  # seconds before each message


class EchoClient(Client):
    __slots__ = ("_since", "transcript")

    shard: "EchoShard"

    def __init__(self, shard: "EchoShard", number: int) -> None:
        super().__init__(shard, number)
        self.transcript = Transcript()
        self._since = 0.0  # time of the last message, sent or received

    def opened(self) -> None:
        self._since = monotonic()
        self.shard.client_opened()

    def received(self, messages: Sequence[bytes]) -> None:
        transcript = self.transcript
        try:
            replies = transcript.receive(messages)
        except WrongTranscript as error:
            self._give_up(str(error))
            return
        now = monotonic()
        if replies:
            self.shard.reply_times.append(now - self._since)
        self._since = now
        if transcript.may_send:
            self.shard.timer_wheel.later(self.shard.delay, self._send)

    def _send(self) -> None:
        if self.connection is not None and not self.dropped:
            self._since = monotonic()
            self.connection.send(self.transcript.next_message())

    def look(self, since: float) -> None:
        """Fail the client if it has waited for a message of the server since before `since`."""
        is_waiting = self.is_open and not self.dropped and not self.transcript.may_send
        if is_waiting and self._since < since:
            self._give_up("no reply in time")

    def _give_up(self, reason: str) -> None:
        self.drop()
        self.shard.fail(reason)
        self.shard.client_left()

    def closed(self, code: int, reason: str) -> None:
        transcript = self.transcript
        try:
            transcript.finish(code)
        except WrongTranscript as error:
            # The connection was lost, or closed with another code: not a wrong message of the
            # server.
            left = code != 1000 and transcript.received < len(SERVER_MESSAGES)
            self.shard.fail(why_closed(code, reason) if left else str(error))
        else:
            self.shard.tally["done"] += 1
        self.shard.client_left()


class EchoShard(Shard):
    """The echo clients of one process."""

    plan_type = EchoPlan
    tallied = (*Shard.tallied, "done")

    def __init__(self, reactor: Any, plan: EchoPlan, number: int, emit: Emit) -> None:
        self.delay = plan.delay
        self.reply_times: list[float] = []
        self._replies = Latencies()
        self._most = 0
        self._full_at: float | None = None
        self._first_end: float | None = None
        self._done = 0
        super().__init__(reactor, plan, number, emit)

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
            self._emit_tally()
            self.emit("full", {})

    def client_left(self) -> None:
        """A client that was open has ended its conversation, or has failed."""
        if self._first_end is None:
            self._first_end = monotonic()
        self._one_done()

    def not_opened(self, client: Client, reason: str) -> None:
        super().not_opened(client, reason)
        self._one_done()

    def _one_done(self) -> None:
        self._done += 1
        if self._done == len(self._clients):
            self.emit("done", {})

    def _fold(self) -> None:
        super()._fold()
        self._replies.add(self.reply_times)
        self.reply_times.clear()

    def measurements(self) -> dict[str, Any]:
        return {
            "most": self._most,
            "full_at": self._full_at,
            "first_end": self._first_end,
            "reply": self._replies.counts(),
            "messages": len(CLIENT_MESSAGES) * self.tally["done"],
        }
