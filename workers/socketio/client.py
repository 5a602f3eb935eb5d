"""One client of `swarm socketio`: it answers the server's packets, and checks them."""

from collections.abc import Sequence
from time import monotonic
from typing import Any

from workers.connection.failure_reasons import why_closed
from workers.load import broadcast_verification as delivery
from workers.processes.client import Client
from workers.socketio import transcript
from workers.socketio.transcript import EVENT, Transcript, WrongTranscript

OPEN, CLOSE, PING, PONG, NOOP = b"0", b"1", b"2", b"3", b"6"


class SocketIoClient(Client):
    """One client."""

    __slots__ = ("_resumes", "_since", "attempts", "delivery", "has_joined", "room", "transcript")

    def __init__(self, shard: Any, number: int, rooms: int) -> None:
        super().__init__(shard, number)
        self.room = number % rooms
        self.delivery = delivery.Delivery(rooms)
        self.transcript = Transcript()
        self.has_joined = False  # ever
        self.attempts = 0  # to reconnect, which were refused
        self._since = 0.0  # when the last echo was sent
        self._resumes = False  # the session is another one: earlier messages are not expected

    def received(self, packets: Sequence[bytes]) -> None:
        for packet in packets:
            if packet.startswith(EVENT):
                self._message(packet)
            elif packet[:1] == PING:
                self._send(PONG + packet[1:])
            elif packet[:1] == OPEN:
                self._send(self.transcript.connect())
            elif packet[:1] == CLOSE:
                self._give_up("closed by the server")
            elif packet[:1] != NOOP:
                self._other(packet)

    def _message(self, packet: bytes) -> None:
        text, self.transcript.offset = transcript.message_of(packet)
        shard = self.shard
        try:
            publisher, number, sent = delivery.parse(text)
        except delivery.UnknownMessage as error:
            shard.fail(str(error))
            return
        if publisher != self.room:
            shard.fail(f"a message of another room: {text[:40]!r}")
            return
        expected = self.delivery.expected
        if self._resumes and number != delivery.ANNOUNCEMENT:
            self._resumes = False
            expected[publisher] = max(expected[publisher], number)
        if expected[publisher] == number:
            expected[publisher] = number + 1
            shard.times.append(monotonic() - sent)
        elif number == delivery.ANNOUNCEMENT:
            shard.client_announced(self.number)
        elif self.delivery.unexpected(publisher, number, shard.counts):
            shard.times.append(monotonic() - sent)

    def _other(self, packet: bytes) -> None:
        shard = self.shard
        number = transcript.published(packet)
        if number is not None:
            shard.unacknowledged.discard((self.room, number))
            return
        was_connected, was_joined = self.transcript.is_connected, self.transcript.is_joined
        try:
            self.transcript.receive(packet)
        except WrongTranscript as error:
            self._give_up(str(error))
            return
        if was_joined:
            shard.echo_times.append(monotonic() - self._since)
            self.echo_later()
        elif self.transcript.is_joined:
            self._joined(is_recovered=not was_connected)
        else:
            self._resumes = self.has_joined
            self._send(self.transcript.join(shard.room_name(self.room)))

    def _joined(self, is_recovered: bool) -> None:
        self.attempts = 0
        if not self.has_joined:
            self.has_joined = True
            self.shard.client_joined()
        else:
            self.shard.tally["recovered" if is_recovered else "unrecovered"] += 1
            if self.shard.has_begun:
                self.echo_later()

    def echo_later(self) -> None:
        """Echo after the pause, if any echoes are left."""
        if self.transcript.echoes < self.shard.plan.echoes:
            self.shard.timer_wheel.later(self.shard.plan.pause, self._echo)

    def _echo(self) -> None:
        transcript = self.transcript
        is_idle = transcript.echoed == transcript.echoes < self.shard.plan.echoes
        if self.is_open and not self.dropped and transcript.is_joined and is_idle:
            self._since = monotonic()
            self._send(transcript.echo())

    def look(self, since: float) -> None:
        """Fail the client if it has waited for an acknowledgement since before `since`."""
        is_waiting = self.transcript.echoed < self.transcript.echoes
        if self.is_open and not self.dropped and is_waiting and self._since < since:
            self._give_up("no acknowledgement in time")

    def publish(self, text: bytes, number: int | None = None) -> None:
        """Send a message to the client's room, to be acknowledged if it has a number."""
        self._send(transcript.publication(text, self.shard.room_name(self.room), number))

    def _send(self, packet: bytes) -> None:
        if self.connection is not None:
            self.connection.send(packet)

    def _give_up(self, reason: str) -> None:
        self.drop()
        self.shard.fail(reason)

    def closed(self, code: int, reason: str) -> None:
        why = reason if code == 1006 and reason else why_closed(code, reason)
        if self.shard.plan.reconnect:
            self.shard.client_lost(self, why)
        else:
            self.shard.fail(why)

    def missing(self, messages: int) -> set[int]:
        """The messages that should have arrived, of so many to the room."""
        if self._resumes:
            return self.delivery.missing(self.room)
        return self.delivery.missing(self.room) | {
            *range(self.delivery.expected[self.room], messages)
        }
