"""The bus of a cluster of one node: the exchange runs in this process, and nothing leaves it."""

import os
import time
from collections import Counter, deque
from collections.abc import Callable

from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange
from cluster.pubsub.bus import BusReceiver, Clock


class LocalBus:
    """Delivers the exchange's answers in the next turn of the event loop, as a link would.

    Retained frames expire by ``unix_time``, in seconds.
    """

    def __init__(self, name: str, clock: Clock, unix_time: Callable[[], float] = time.time) -> None:
        self.name = name
        self.dropped: Counter[str] = Counter()
        self._clock = clock
        self._unix_time = unix_time
        self._exchange = Exchange(os.urandom(8).hex())
        self._answers: deque[wire.Message] = deque()
        self._scheduled = False
        self._receiver: BusReceiver | None = None

    def start(self, receiver: BusReceiver) -> None:
        self._receiver = receiver
        self.send(wire.Hello())

    def stop(self) -> None:
        self._receiver = None

    def send(self, message: wire.Message) -> None:
        now = int(self._unix_time() * 1000)
        outgoing = self._exchange.receive(self.name, message, now)
        self._answers += (answer for _, answer in outgoing)
        if self._answers and not self._scheduled:
            self._scheduled = True
            self._clock.callLater(0, self._deliver)

    def send_batch(self, node: str, data: bytes) -> None:
        """Drop the batch: there is no other node."""
        self.dropped["node_gone"] += 1

    @property
    def is_up(self) -> bool:
        return self._receiver is not None

    @property
    def queued_bytes(self) -> int:
        return 0

    def _deliver(self) -> None:
        self._scheduled = False
        answers, self._answers = self._answers, deque()
        for answer in answers:
            if self._receiver is None:
                return
            if isinstance(answer, wire.Welcome):
                self._receiver.bus_up(answer)
            else:
                self._receiver.bus_message(answer)
