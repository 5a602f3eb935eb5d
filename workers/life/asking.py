"""When cells ask for states that were lost with a process of the server, and which cells do.

A state that is lost stops its receiver, then the receiver's neighbours, and so on, until no cell
advances any more. So a shard looks whether the step that all its cells have reached advances.
"""

from collections import deque
from collections.abc import Callable, Iterable
from statistics import median
from time import monotonic

from workers.life.cell_client import CellClient
from workers.processes.client import Client

LOOK_EVERY = 0.25  # seconds between two checks
ASK_AFTER = 0.5  # seconds without a step, beyond those of the rate, after which cells ask
USUAL_STEPS = 9  # steps whose median duration is usual; after twice as long cells ask
ASK_AGAIN = 1.0  # seconds between two times
MOST_ASKED = 2000  # states that a shard asks for at once: those of its last cells


class Asking:
    """Call `is_due` every LOOK_EVERY seconds. rate: steps a second at most; 0: no limit."""

    def __init__(self, rate: float, seconds: Callable[[], float] = monotonic) -> None:
        self._pause = 1 / rate if rate else 0.0
        self._seconds = seconds
        self._step = -1
        self._since = seconds()  # when all cells had reached that step
        self._asked_at = 0.0
        self._durations: deque[float] = deque(maxlen=USUAL_STEPS)

    def is_due(self, step: int) -> bool:
        """Whether cells must ask now. step: the one that all cells of the shard have reached."""
        now = self._seconds()
        if step != self._step:
            if self._step >= 0:
                self._durations.append((now - self._since) / (step - self._step))
            self._step, self._since, self._asked_at = step, now, 0.0
            return False
        # A busy server needs more time, not more messages.
        usual = median(self._durations) if self._durations else 0.0
        if now - self._since < max(self._pause + ASK_AFTER, 2 * usual):
            return False
        if now - self._asked_at < ASK_AGAIN:
            return False
        self._asked_at = now
        return True


def ask(clients: Iterable[Client]) -> int:
    """Let cells ask for the states that they miss; returns the number of these states.

    The cells with the lowest step come first: the others wait because of these.
    """
    waiting = [client for client in clients if isinstance(client, CellClient) and client.is_waiting]
    waiting.sort(key=lambda client: client.cell.step)
    asked = 0
    for client in waiting:
        requests = client.cell.requests()
        if asked + len(requests) > MOST_ASKED:
            break
        asked += len(requests)
        assert client.connection is not None
        for request in requests:
            client.connection.send(request)
    return asked
