"""A child process and its parent, which exchange JSON objects, one per line.

The child imports a module and calls its `main`, which calls `run_child`. It ignores Ctrl-C, which a
terminal sends to both parent and children, because the parent decides when children end. It exits
at once when its standard input ends, because then the parent is gone.
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

from workers.processes.process_setup import raise_open_file_limit, the_reactor

# Ctrl-C is ignored before the imports, which take tenths of a second.
_CHILD = """\
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from {} import main
main()
"""

LONGEST_LINE = 1 << 20  # bytes: a generation of the largest Life grid takes 250,000

Message = dict[str, Any]


class Child(ProcessProtocol):
    """The parent's side. Call `start`, then `send`.

    module: the module that the child imports, and whose `main` it calls.
    received: called with each message of the child.
    ended: called once, when the process has ended, with Twisted's text for its exit status.
    """

    transport: Any = None

    def __init__(
        self,
        reactor: Any,
        module: str,
        received: Callable[[Message], None],
        ended: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._module = module
        self._received = received
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

    def send(self, message: Message) -> None:
        """Send a message. No effect if the child has ended."""
        if self.transport is not None:
            self.transport.write(json.dumps(message).encode() + b"\n")

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._received(json.loads(line))

    def processEnded(self, reason: Failure) -> None:
        self.transport = None
        self._ended(str(reason.value))


class Parent(LineOnlyReceiver):
    """The child's side. Call `send`, and `disconnect` after the last message."""

    transport: Any = None
    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE

    def __init__(self, reactor: Any, received: Callable[["Parent", Message], None]) -> None:
        self._reactor = reactor
        self._received = received

    def send(self, message: Message) -> None:
        self.transport.write(json.dumps(message).encode() + b"\n")

    def disconnect(self) -> None:
        """End the child, when everything has been sent."""
        self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        self._received(self, json.loads(line))

    def connectionLost(self, reason: Any = None) -> None:
        if self._reactor.running:
            self._reactor.stop()


def run_child(received: Callable[[Any, Parent, Message], None]) -> None:
    """Run the reactor of a child until the parent is gone or `Parent.disconnect` is called.

    received(reactor, parent, message) is called with each message of the parent.
    """
    raise_open_file_limit()
    reactor = the_reactor()
    parent = Parent(reactor, lambda parent, message: received(reactor, parent, message))
    StandardIO(parent, reactor=reactor)
    reactor.run(installSignalHandlers=False)
