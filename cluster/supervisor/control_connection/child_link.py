"""ChildLink: the supervisor's end of the connection of a child, or of an operator."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.control_connection.commands import (
    Ask,
    Inspect,
    Listen,
    QuietAMP,
    Ready,
    Register,
    Standby,
    StartFailed,
    Stats,
    Stop,
)


class ChildRegistry(Protocol):
    """The methods of the supervisor's registry that its end of the connection calls."""

    def registered(self, link: "ChildLink", slot: int, pid: int) -> dict[str, Any]:
        """Return the configuration of a child that registers; raises RegistrationRefused."""

    def standby(self, link: "ChildLink", pid: int) -> "Deferred[int]":
        """The spare process has loaded the site; fires with its slot. Raises
        RegistrationRefused."""

    def listening_sockets(self, slot: int) -> list[tuple[int, int, str]]:
        """The listening sockets for a child: (descriptor, family, endpoint)."""

    def certificate(self, endpoint: str) -> str:
        """The TLS key and certificates of an address, in PEM format; empty if it has none."""

    def became_ready(self, link: "ChildLink") -> None:
        """The child serves."""

    def start_failed(self, link: "ChildLink", reason: str, permanent: bool) -> None:
        """The child cannot start; ``permanent``: a restart does not help."""

    def left(self, link: "ChildLink") -> None:
        """The connection of a child is gone, also that of a spare process without a slot."""


class Operator(Protocol):
    """The method of the supervisor that an operator's commands call."""

    def ask(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Answer an operator's question; see cluster.supervisor.operators."""


class ChildLink(QuietAMP):
    """The supervisor's end of one child's connection."""

    log = Logger()

    def __init__(self, registry: ChildRegistry, operator: Operator) -> None:
        super().__init__()
        self._registry = registry
        self._operator = operator
        self.slot: int | None = None
        self.pid = 0
        self.drain_timeout: float | None = None
        self.restart_spread: float | None = None
        self.fingerprint: str | None = None

    @Register.responder
    def _register(self, slot: int, pid: int) -> "Deferred[dict[str, str]]":
        config = self._registry.registered(self, slot, pid)
        self.slot, self.pid = slot, pid
        sent = [
            self.callRemote(
                Listen,
                descriptor=descriptor,
                family=family,
                endpoint=endpoint,
                certificate=self._registry.certificate(endpoint),
            )
            for descriptor, family, endpoint in self._registry.listening_sockets(slot)
        ]
        return gatherResults(sent, consumeErrors=True).addCallback(
            lambda _: {"config": json.dumps(config)}
        )

    @Standby.responder
    def _standby(self, pid: int) -> "Deferred[dict[str, int]]":
        taken = self._registry.standby(self, pid)
        self.pid = pid
        return taken.addCallback(lambda slot: {"slot": slot})

    @Ready.responder
    def _ready(
        self,
        drain_timeout: float | None = None,
        restart_spread: float | None = None,
        fingerprint: str | None = None,
    ) -> dict[str, Any]:
        self.drain_timeout, self.restart_spread = drain_timeout, restart_spread
        self.fingerprint = fingerprint
        self._registry.became_ready(self)
        return {}

    @StartFailed.responder
    def _start_failed(self, reason: str, permanent: bool) -> dict[str, Any]:
        if self.slot is not None:  # otherwise the registry has refused the child and logged why
            self._registry.start_failed(self, reason, permanent)
        return {}

    def stats(self) -> "Deferred[dict[str, Any]]":
        """Ask for the child's statistics; the Deferred fails if the connection ends first."""
        asked: Deferred[dict[str, Any]] = self.callRemote(Stats)
        return asked.addCallback(lambda response: json.loads(response["stats"]))

    def stop(self, handing_over: bool = False) -> None:
        """Ask the child to drain and exit. The end of its process is reported elsewhere.

        Args:
            handing_over: Whether its replacement serves already.
        """
        self.callRemote(Stop, handing_over=handing_over).addErrback(lambda _: None)

    def inspect(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Call a method of the node's Inspection; fails with OperationFailed."""
        asked: Deferred[dict[str, Any]] = self.callRemote(Inspect, what=what, arguments=arguments)
        return asked.addCallback(lambda response: response["answer"])

    @Ask.responder
    def _ask(self, what: str, arguments: dict[str, Any]) -> "Deferred[dict[str, Any]]":
        asked = maybeDeferred(self._operator.ask, what, arguments)
        return asked.addCallbacks(lambda answer: {"answer": answer}, self._log_error)

    def _log_error(self, failure: Failure) -> Failure:
        """Pass on what is for the operator; log anything else, at which AMP would disconnect."""
        if failure.check(OperationFailed):
            return failure
        self.log.failure("cannot answer an operator", failure)
        return Failure(OperationFailed("internal error; the log has the reason"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.pid:  # the registry has not refused the child
            self._registry.left(self)


class ControlFactory(Factory):
    """Creates the supervisor's ends of the connections."""

    noisy = False

    def logPrefix(self) -> str:
        """The name in Twisted's log of ports."""
        return "control socket"

    def __init__(self, registry: ChildRegistry, operator: Operator) -> None:
        self._registry = registry
        self._operator = operator

    def buildProtocol(self, addr: Any) -> ChildLink:
        link = ChildLink(self._registry, self._operator)
        link.factory = self
        return link
