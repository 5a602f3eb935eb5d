"""Shares in processes of their own, which are told and tell in JSON, one text a line.

    > {"number": …, "plan": {…}}        once, first: whose share to play
    > {"do": "close"}                   close every connection
    < {"tell": "progress", "arguments": […]}   any of Listener's events, in order
    end of input                        the parent is gone: end at once

A child ignores Ctrl-C, which a terminal sends to parent and children alike: the parent decides.
"""

import dataclasses
import json
import os
import sys
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from workers.latency import Latencies
from workers.life import Grid
from workers.share import (
    Listener,
    Plan,
    Share,
    Target,
    Totals,
    keep_garbage_collection_short,
)

# Ctrl-C is ignored before anything is imported, which takes tenths of a second.
_CHILD = """\
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from workers.processes import main
main()
"""

LONGEST_LINE = 1 << 20  # bytes: a generation of the largest grid takes 250,000


def plan_as_json(plan: Plan) -> dict[str, Any]:
    values = {name: getattr(plan, name) for name in _PLAIN}
    values["start"] = [plan.start.size, hex(plan.start.bits)]
    values["targets"] = [dataclasses.astuple(target) for target in plan.targets]
    return values


def plan_from_json(values: dict[str, Any]) -> Plan:
    size, bits = values["start"]
    return Plan(
        start=Grid(size, int(bits, 16)),
        targets=tuple(Target(*target) for target in values["targets"]),
        **{name: values[name] for name in _PLAIN},
    )


_PLAIN = ("wrap", "last", "rate", "ramp", "timeout", "verify", "shares")


# The parent's side


class ShareProcess(ProcessProtocol):
    """A share in a child process, with a share's methods; tells the same listener."""

    transport: Any = None

    def __init__(self, reactor: Any, plan: Plan, number: int, listener: Listener) -> None:
        self._reactor = reactor
        self._plan = plan
        self._number = number
        self._listener = listener
        self._rest = b""
        self._totals: Totals | None = None

    def start(self) -> None:
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(p or os.getcwd() for p in sys.path)
        )
        self._reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-c", _CHILD],
            env=environment,
            childFDs={0: "w", 1: "r", 2: 2},
        )
        self._say({"number": self._number, "plan": plan_as_json(self._plan)})

    def close(self) -> None:
        self._say({"do": "close"})

    def _say(self, what: dict[str, Any]) -> None:
        if self.transport is not None:
            self.transport.write(json.dumps(what).encode() + b"\n")

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self._hear(said["tell"], said["arguments"])

    def _hear(self, event: str, arguments: list[Any]) -> None:
        if event == "generation":
            step, bits = arguments
            self._listener.generation(self._number, step, int(bits, 16))
        elif event == "ended":
            sent, received, reconnects, counts = arguments
            latencies = Latencies((bucket, count) for bucket, count in counts)
            self._totals = Totals(sent, received, reconnects, latencies)
        else:
            getattr(self._listener, event)(self._number, *arguments)

    def processEnded(self, reason: Failure) -> None:
        # Only now, so that no process of the swarm outlives the game.
        if self._totals is None:
            why = f"a process of the swarm ended early: {reason.value}"
            self._listener.failed(self._number, why)
        self._listener.ended(self._number, self._totals or Totals())


# The child's side


class _Child(LineOnlyReceiver):
    """Hears the parent, tells it what the share tells."""

    transport: Any = None
    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._share: Share | None = None

    def lineReceived(self, line: bytes) -> None:
        said = json.loads(line)
        if "plan" in said:
            self._share = Share(self._reactor, plan_from_json(said["plan"]), said["number"], self)
            self._share.start()
        elif self._share is not None:
            self._share.close()

    def connectionLost(self, reason: Any = None) -> None:
        if self._reactor.running:
            self._reactor.stop()

    def _tell(self, event: str, *arguments: Any) -> None:
        self.transport.write(json.dumps({"tell": event, "arguments": arguments}).encode() + b"\n")

    # Listener

    def progress(self, share: int, connected: int, subscribed: int, step: int) -> None:
        self._tell("progress", connected, subscribed, step)

    def subscribed(self, share: int) -> None:
        keep_garbage_collection_short()
        self._tell("subscribed")

    def running(self, share: int) -> None:
        self._tell("running")

    def generation(self, share: int, step: int, bits: int) -> None:
        self._tell("generation", step, hex(bits))

    def finished(self, share: int) -> None:
        self._tell("finished")

    def failed(self, share: int, why: str) -> None:
        self._tell("failed", why)

    def ended(self, share: int, totals: Totals) -> None:
        self._tell(
            "ended", totals.sent, totals.received, totals.reconnects, totals.latencies.counts()
        )
        self.transport.loseConnection()


def main() -> None:
    """A child's whole life; start it as _CHILD does."""
    from workers.life_command import descriptors, log_errors_only

    descriptors()
    log_errors_only()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    StandardIO(_Child(reactor), reactor=reactor)
    reactor.run(installSignalHandlers=False)
