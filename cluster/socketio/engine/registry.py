"""The sessions of this process, of all servers in its URLconf, and what they need of the node.

A session's id is 20 characters: the token of the process, by which a request finds its way to it
(cluster.net.handover), and 84 random bits. Who knows the id may use the session.
"""

import asyncio
import secrets
import string
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cluster.core.socketio.engine_session import POLLING, WEBSOCKET, EngineSession
from cluster.core.water_marks import HIGH_WATER
from cluster.django.handshake.limits import MessageRate
from cluster.net.handover.session_ids import SIZE, TOKEN_SIZE, token_of_this_process
from cluster.net.loop.end_of_turn import EndOfTurn
from cluster.net.loop.timers import CoarseTimers

RANDOM_LENGTH = SIZE - TOKEN_SIZE

EXACT_BELOW_S = 5.0
"""Intervals below this are measured exactly; a timer of others may be half a second late."""

FAREWELL_S = 30.0
"""Seconds for which the last packets of a session wait for the client's next request."""

MAX_FAREWELLS = 10_000

MAX_FAREWELL_BYTES = 16 << 20
"""Bytes of all of them: a client may end its session with much unread, and begin another one."""

_LETTERS = string.ascii_letters + string.digits + "-_"


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None: ...


class Client(Protocol):
    """What is needed here of an EngineClient."""

    @property
    def sid(self) -> str: ...

    @property
    def session(self) -> EngineSession: ...

    def flush(self) -> None: ...


class Sessions:
    """The sessions of one process. Belongs to the thread of the event loop.

    ``opened`` counts sessions by their first transport, ``upgraded`` those that changed it,
    ``refused`` requests by Engine.IO's code or the status of the answer, ``closed`` sessions by
    reason, and ``dropped`` messages to clients that were not delivered, by reason.
    """

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.polling = 0
        """Open sessions over long polling."""
        self.opened: Counter[str] = Counter()
        self.upgraded = 0
        self.refused: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[Any]] = set()
        """Tasks of handlers, which a node that stops waits for."""
        self.end_of_turn: EndOfTurn
        self.high_water = HIGH_WATER
        self.rate: MessageRate | None = None
        self._timers: CoarseTimers
        self._to_flush: list[Client] = []
        self._farewells: dict[str, tuple[list[bytes], Timer]] = {}
        self._farewell_bytes = 0

    def attach(
        self, end_of_turn: EndOfTurn, settings: Mapping[str, Any], rate: MessageRate | None
    ) -> None:
        """Use the event loop and the settings of a node, before its first client.

        Args:
            end_of_turn: Sends the output of the node's turns.
            settings: The C10K setting with its defaults.
            rate: The limit of messages.
        """
        self.end_of_turn = end_of_turn
        self.high_water = settings["SEND_QUEUE_HIGH_WATER"]
        self.rate = rate
        self._timers = CoarseTimers(end_of_turn.reactor)
        self._farewells = {}
        self._farewell_bytes = 0
        self._to_flush = []

    def flush_later(self, client: Client) -> None:
        """Call the client's ``flush`` at the end of the turn."""
        if not self._to_flush:
            self.end_of_turn.reactor.callLater(0, self._flush)
        self._to_flush.append(client)

    def _flush(self) -> None:
        clients, self._to_flush = self._to_flush, []
        budget = self.end_of_turn.budget
        for number, client in enumerate(clients, 1):
            client.flush()
            if budget.is_spent() and number < len(clients):
                # The others follow in the next turn, before those that are added meanwhile.
                if not self._to_flush:
                    self.end_of_turn.reactor.callLater(0, self._flush)
                self._to_flush[:0] = clients[number:]
                return

    @property
    def open_by_transport(self) -> dict[str, int]:
        """The number of open sessions by transport."""
        return {POLLING: self.polling, WEBSOCKET: len(self.clients) - self.polling}

    def add(self, client: Client) -> None:
        """A session is open."""
        self.clients[client.sid] = client
        transport = client.session.transport
        self.opened[transport] += 1
        self.polling += transport == POLLING

    def remove(self, client: Client, reason: str) -> None:
        """A session has ended."""
        del self.clients[client.sid]
        self.closed[reason] += 1
        self.polling -= client.session.transport == POLLING

    def count_refused(self, label: object) -> None:
        """Count a refused request, by Engine.IO's code or the status of the answer."""
        self.refused[str(label)] += 1

    def new_sid(self) -> str:
        """A new session's id."""
        return token_of_this_process() + random_text(RANDOM_LENGTH)

    def call_later(self, delay: float, call: Callable[[], object]) -> Timer:
        """Call a function in ``delay`` seconds; its result's ``cancel`` is for pending calls."""
        if delay < EXACT_BELOW_S:
            timer: Timer = self.end_of_turn.reactor.callLater(delay, call)
            return timer
        return self._timers.call_later(delay, call)

    def leave_farewell(self, sid: str, payloads: list[bytes]) -> None:
        """Keep the last packets of a session over polling: a payload for each next GET."""
        if sid in self._farewells:
            return
        size = self._farewell_bytes + sum(map(len, payloads))
        if len(self._farewells) >= MAX_FAREWELLS or size > MAX_FAREWELL_BYTES:
            self.dropped["disconnected"] += 1
            return
        timer = self.call_later(FAREWELL_S, lambda: self._forget_farewell(sid))
        self._farewells[sid] = payloads, timer
        self._farewell_bytes = size

    def take_farewell(self, sid: str) -> bytes | None:
        """The next payload of a session that has ended, once; None if there is none."""
        found = self._farewells.get(sid)
        if found is None:
            return None
        payload = found[0].pop(0)
        self._farewell_bytes -= len(payload)
        if not found[0]:
            self._forget_farewell(sid)
        return payload

    def _forget_farewell(self, sid: str) -> None:
        payloads, timer = self._farewells.pop(sid)
        self._farewell_bytes -= sum(map(len, payloads))
        timer.cancel()


def random_text(length: int) -> str:
    """Random letters of the alphabet of session ids, which has 64."""
    return "".join([_LETTERS[byte & 63] for byte in secrets.token_bytes(length)])


sessions = Sessions()
"""Those of this process."""
