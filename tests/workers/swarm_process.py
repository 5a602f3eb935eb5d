"""A `swarm` process, started as a user does."""

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

reactor: Any = _reactor
ROOT = Path(__file__).resolve().parents[2]


class SwarmProcess(ProcessProtocol):
    """`ended` fires with the exit status, `printed(text)` when stderr has the text.

    If the process ends before stderr has the text, the test fails at once.
    """

    def __init__(self, *arguments: str, command: str = "life") -> None:
        self.out = b""
        self.err = b""
        self.ended: Deferred[int] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[None]]] = []
        reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-m", "workers", command, *arguments],
            env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *sys.path])),
        )

    def printed(self, text: bytes) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((text, waiting))
        self._look()
        return waiting

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def errReceived(self, data: bytes) -> None:
        self.err += data
        self._look()

    def _look(self) -> None:
        for entry in list(self._waiting):
            if entry[0] in self.err:
                self._waiting.remove(entry)
                entry[1].callback(None)
            elif self.ended.called:
                self._waiting.remove(entry)
                entry[1].errback(
                    AssertionError(f"ended without {entry[0]!r}:\n{self.err.decode()}")
                )

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(reason.value.exitCode)
        self._look()
