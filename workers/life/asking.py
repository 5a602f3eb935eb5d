"""When cells ask for states that were lost with a process of the server, and which cells do.

A frame that is lost stops the whole game: its receiver waits, then the receiver's neighbours, and
so on. So a shard looks only whether any message arrives.
"""

from collections.abc import Iterable

from workers.life.cell_client import CellClient
from workers.processes.client import Client

LOOK_EVERY = 0.25  # seconds between two checks whether messages arrive
ASK_AFTER = 0.5  # seconds without a message after which cells ask for states; doubled each time
ASK_LAST = 1.0  # seconds, the longest of these
MOST_ASKED = 2000  # states that a shard asks for at once: those of its last cells


class Asking:
    """Call `is_due` every LOOK_EVERY seconds."""

    def __init__(self) -> None:
        self._received = 0
        self._silent = 0.0  # seconds since a message has arrived
        self._after = ASK_AFTER
        self._step = -1  # the step at which states were asked for

    def is_due(self, received: int, step: int) -> bool:
        """Whether cells must ask now. received: messages so far. step: that all have reached."""
        if received != self._received:
            self._received = received
            self._silent = 0.0
            return False
        self._silent += LOOK_EVERY
        if self._silent < self._after:
            return False
        self._silent = 0.0
        self._after = min(ASK_LAST, 2 * self._after) if step == self._step else ASK_AFTER
        self._step = step
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
