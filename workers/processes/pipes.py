"""A child process and its parent, one JSON text a line each way.

The child imports a module and calls its `main`, which calls `run_child`. It ignores Ctrl-C, which a
terminal sends to parent and children alike: the parent decides. At the end of its input, which says
that the parent is gone, it ends at once.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from workers.connection.limits import descriptors
from workers.processes.process_setup import the_reactor

# Ctrl-C is ignored before anything is imported, which takes tenths of a second.
_CHILD = """\
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from {} import main
main()
"""

LONGEST_LINE = 1 << 20  # bytes: a generation of the largest Life grid takes 250,000

Said = dict[str, Any]


class Child(ProcessProtocol):
    """The parent's side. `start` it, then `say`; `heard` and `ended` (why) are called."""

    transport: Any = None

    def __init__(
        self,
        reactor: Any,
        module: str,
        heard: Callable[[Said], None],
        ended: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._module = module
        self._heard = heard
        self._ended = ended
        self._rest = b""

    def start(self) -> None:
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(p or os.getcwd() for p in sys.path)
        )
        self._reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-c", _CHILD.format(self._module)],
            env=environment,
            childFDs={0: "w", 1: "r", 2: 2},
        )

    def say(self, what: Said) -> None:
        """Lost if the child has ended."""
        if self.transport is not None:
            self.transport.write(json.dumps(what).encode() + b"\n")

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._heard(json.loads(line))

    def processEnded(self, reason: Failure) -> None:
        self.transport = None
        self._ended(str(reason.value))


class Parent(LineOnlyReceiver):
    """The child's side: `say`, and after the last word `hang_up`."""

    transport: Any = None
    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE

    def __init__(self, reactor: Any, heard: Callable[["Parent", Said], None]) -> None:
        self._reactor = reactor
        self._heard = heard

    def say(self, what: Said) -> None:
        self.transport.write(json.dumps(what).encode() + b"\n")

    def hang_up(self) -> None:
        self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        self._heard(self, json.loads(line))

    def connectionLost(self, reason: Any = None) -> None:
        if self._reactor.running:
            self._reactor.stop()


def run_child(heard: Callable[[Any, Parent, Said], None]) -> None:
    """Be a child until the parent, or `hang_up`, ends it: heard(reactor, parent, what was said)."""
    descriptors()
    reactor = the_reactor()
    StandardIO(Parent(reactor, lambda parent, said: heard(reactor, parent, said)), reactor=reactor)
    reactor.run(installSignalHandlers=False)
