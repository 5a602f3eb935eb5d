"""How many connections a user or a proxy's client may have, and how many messages each may send.

The sockets of a node are counted where they are accepted (cluster.net.accepting). What is counted
here is known only from a request: its user, and its client if a proxy passed it on. Beyond a limit
it is answered 429. A client that sends too many messages is closed with 1008.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from cluster.core.interfaces import ClientConnection
from cluster.net.accepting.socket_limits import SocketLimits, network_of
from cluster.net.websocket.refusal import Refusal

CLOSE_TOO_FAST = 1008

RETRY_LATER = (("Retry-After", "5"),)

Receive = Callable[[bytes, bool], None]


class Occupancy:
    """Counts the connections of users, and those of a proxy's clients.

    Args:
        settings: The C10K setting with its defaults.
        sockets: Counts clients, whether they connect through a proxy or not.

    ``refused`` counts refusals by reason: "user".
    """

    def __init__(self, settings: Mapping[str, Any], sockets: SocketLimits) -> None:
        self.refused: Counter[str] = Counter()
        self.sockets = sockets
        self.taken = 0
        """Seats that have not been left."""
        self._users: Counter[str] = Counter()
        self._per_user: int | None = settings["MAX_CONNECTIONS_PER_USER"]

    @property
    def limits_users(self) -> bool:
        """Whether there is a limit for each user."""
        return self._per_user is not None

    def enter(self, client: str | None) -> "Seat":
        """Take a seat for a connection; the caller must ``leave`` it in any case.

        Args:
            client: The address that a proxy reported; None if the client's socket is counted
                already.

        Raises:
            Refusal: The client has as many as it may.
        """
        if client is not None:
            client = network_of(client)
            if not self.sockets.enter(client):
                raise Refusal(429, "too many connections of this client", RETRY_LATER)
        self.taken += 1
        return Seat(self, client)

    def _forget_user(self, user: str) -> None:
        self._users[user] -= 1
        if not self._users[user]:
            del self._users[user]


class Seat:
    """The seat of one connection; made by ``Occupancy.enter``."""

    __slots__ = ("_client", "_is_lent", "_occupancy", "_user")

    def __init__(self, occupancy: Occupancy, client: str | None) -> None:
        self._occupancy: Occupancy | None = occupancy
        self._client = client
        self._user: str | None = None
        self._is_lent = False

    def assign_user(self, user: str) -> None:
        """Count the seat for a user, once.

        Args:
            user: The user's primary key.

        Raises:
            Refusal: The user has as many as they may.
        """
        occupancy = self._occupancy
        if occupancy is None or occupancy._per_user is None:
            return
        if occupancy._users[user] >= occupancy._per_user:
            occupancy.refused["user"] += 1
            raise Refusal(429, "too many connections of this user", RETRY_LATER)
        occupancy._users[user] += 1
        self._user = user

    def lend_user(self) -> None:
        """Do not count the seat for its user, because another connection of the same client takes
        its place; until ``count_user_again``. Idempotent."""
        if self._occupancy is not None and self._user is not None and not self._is_lent:
            self._is_lent = True
            self._occupancy._forget_user(self._user)

    def count_user_again(self) -> None:
        """Undo ``lend_user``, even if the user has as many as they may. Idempotent."""
        if self._occupancy is not None and self._user is not None and self._is_lent:
            self._is_lent = False
            self._occupancy._users[self._user] += 1

    def leave(self) -> None:
        """Give the seat back. Idempotent."""
        occupancy, self._occupancy = self._occupancy, None
        if occupancy is None:
            return
        occupancy.taken -= 1
        if self._client is not None:
            occupancy.sockets.leave(self._client)
        if self._user is not None and not self._is_lent:
            occupancy._forget_user(self._user)


class MessageRate:
    """A token bucket for each connection.

    Args:
        rate: Messages per second.
        burst: Messages that a client may send at once.
        now: Returns the time in seconds.
    """

    def __init__(self, rate: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self.closed_total = 0
        self._rate = rate
        self._burst = burst
        self._now = now

    def gate(self, connection: ClientConnection) -> Callable[[Receive], Receive]:
        """Return a decorator for the functions that receive the messages of one connection.

        Control frames and the fragments of messages count like messages.
        """
        tokens, at = float(self._burst), self._now()
        rate, burst, now = self._rate, self._burst, self._now

        def take() -> bool:
            nonlocal tokens, at
            time_now = now()
            tokens = min(burst, tokens + (time_now - at) * rate) - 1.0
            at = time_now
            if tokens >= 0:
                return True
            self.closed_total += 1
            connection.close(CLOSE_TOO_FAST, "too many messages")
            return False

        def around(receive: Receive) -> Receive:
            def received(payload: bytes, is_binary: bool) -> None:
                if take():
                    receive(payload, is_binary)

            return received

        connection.count_frame = take
        return around


def message_rate(settings: Mapping[str, Any]) -> MessageRate | None:
    """The limit of the C10K setting; None if there is none."""
    rate = settings["MESSAGE_RATE"]
    return None if rate is None else MessageRate(rate, settings["MESSAGE_BURST"])
