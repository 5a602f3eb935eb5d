"""The control connection between the supervisor and each of its children.

The protocol is AMP over a Unix socket in the private runtime folder. The child sends first::

    child          supervisor
    Register    ->             I am process PID for slot K (the broker: slot -1)
                <- Listen      the descriptor of a listening socket; one command for each socket
                <- (response)  the configuration, as JSON
    Ready       ->             the child serves, and how long it may need to stop; once
    StartFailed ->             or: the child cannot start; it exits when it has the response
                <- Stats       for every scrape
                <- Inspect     of a node: which clients and topics it has, for an operator
                <- Stop        drain and exit; its replacement may serve already

An operator's command (cluster.supervisor.operator_commands) comes over a connection of its own,
whose other end does not register.

When the connection is lost, a child exits at once, because its supervisor is gone. The supervisor
forgets the connection; the process monitor reports the end of the process.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.operator_commands import Restart
from cluster.supervisor.operators.questions import Ask, Inspect

BROKER_SLOT = -1

MAX_REASON = 8192
"""Characters of StartFailed.reason that are sent. AMP raises for values above 64 KiB."""


_Arguments = list[tuple[bytes, amp.Argument]]


class RegistrationRefused(Exception):
    """The supervisor is stopping, does not know this child, has another process in this slot, or
    cannot open the slot's sockets."""


class Register(amp.Command):
    """Child to supervisor: the first message."""

    arguments: ClassVar[_Arguments] = [(b"slot", amp.Integer()), (b"pid", amp.Integer())]
    response: ClassVar[_Arguments] = [(b"config", amp.Unicode())]
    errors: ClassVar[dict[type[Exception], bytes]] = {RegistrationRefused: b"REFUSED"}


class Standby(amp.Command):
    """Spare process to supervisor: it has loaded the site. The response comes when a node has
    ended; then the process registers for its slot."""

    arguments: ClassVar[_Arguments] = [(b"pid", amp.Integer())]
    response: ClassVar[_Arguments] = [(b"slot", amp.Integer())]
    errors: ClassVar[dict[type[Exception], bytes]] = {RegistrationRefused: b"REFUSED"}


class Listen(amp.Command):
    """Supervisor to node: a listening socket, and its TLS key and certificates if it has some. The
    receiver owns the descriptor."""

    arguments: ClassVar[_Arguments] = [
        (b"descriptor", amp.Descriptor()),
        (b"family", amp.Integer()),
        (b"endpoint", amp.Unicode()),
        (b"certificate", amp.Unicode(optional=True)),
    ]
    response: ClassVar[_Arguments] = []


class Ready(amp.Command):
    """Child to supervisor: the child serves.

    ``drain_timeout``: seconds that it has to drain; ``restart_spread``: seconds over which it
    closes its clients before that, if a replacement serves; ``fingerprint``: of the code that it
    runs.
    """

    arguments: ClassVar[_Arguments] = [
        (b"drain_timeout", amp.Float(optional=True)),
        (b"restart_spread", amp.Float(optional=True)),
        (b"fingerprint", amp.Unicode(optional=True)),
    ]
    response: ClassVar[_Arguments] = []


class StartFailed(amp.Command):
    """Child to supervisor: the child cannot start. ``permanent``: a restart does not help, until
    the site is corrected."""

    arguments: ClassVar[_Arguments] = [(b"reason", amp.Unicode()), (b"permanent", amp.Boolean())]
    response: ClassVar[_Arguments] = []


class Stats(amp.Command):
    """Supervisor to child: statistics, as JSON."""

    arguments: ClassVar[_Arguments] = []
    response: ClassVar[_Arguments] = [(b"stats", amp.Unicode())]


class Stop(amp.Command):
    """Supervisor to child: drain and exit. ``handing_over``: the replacement serves already."""

    arguments: ClassVar[_Arguments] = [(b"handing_over", amp.Boolean(optional=True))]
    response: ClassVar[_Arguments] = []


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
    """The methods of the supervisor that an operator's commands call."""

    def restart(self) -> "Deferred[str]":
        """Restart all processes with new code; see cluster.supervisor.operator_commands."""

    def ask(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Answer an operator's question; see cluster.supervisor.operators."""


class _Quiet(amp.AMP):
    """Does not log connections: AMP would log two addresses, which are both the socket's path."""

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


class ChildLink(_Quiet):
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

    @Restart.responder
    def _restart(self) -> "Deferred[dict[str, str]]":
        return self._operator.restart().addCallback(lambda summary: {"summary": summary})

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


def _nothing_to_inspect(what: str, arguments: dict[str, Any]) -> "Deferred[Any]":
    raise OperationFailed("this process has no clients")


class SupervisorLink(_Quiet):
    """The child's end. Call ``register`` when connected, then ``ready`` or ``start_failed``.

    ``made`` is called when the connection is made, ``stats`` and ``stop`` at the supervisor's
    request (``stop`` with whether a replacement serves already), ``inspect`` at an operator's, and
    ``lost`` when the connection is lost.
    """

    log = Logger()

    def __init__(
        self,
        made: Callable[[], object],
        stats: Callable[[], dict[str, Any]],
        stop: Callable[[bool], None],
        lost: Callable[[], None],
        inspect: Callable[[str, dict[str, Any]], "Deferred[Any]"] = _nothing_to_inspect,
    ) -> None:
        super().__init__()
        self._made = made
        self._inspect = inspect
        self._stats = stats
        self._stop = stop
        self._lost = lost
        self.listening_sockets: list[tuple[int, int, str, str]] = []

    def register(self, slot: int, pid: int) -> "Deferred[dict[str, Any]]":
        """Register this process; fires with the configuration.

        ``listening_sockets`` is complete by then.
        """
        registered: Deferred[dict[str, Any]] = self.callRemote(Register, slot=slot, pid=pid)
        return registered.addCallback(lambda response: json.loads(response["config"]))

    def standby(self, pid: int) -> "Deferred[int]":
        """Report that this spare process has loaded the site; fires with the slot to take."""
        asked: Deferred[dict[str, int]] = self.callRemote(Standby, pid=pid)
        return asked.addCallback(lambda response: response["slot"])

    def ready(self, **report: Any) -> "Deferred[None]":
        """Report that this process serves, with the optional arguments of Ready."""
        sent: Deferred[object] = self.callRemote(Ready, **report)
        return sent.addCallback(lambda _: None)

    def start_failed(self, reason: str, permanent: bool) -> "Deferred[None]":
        """Report why this process cannot start; fires when the supervisor has the report."""
        # The name of a file that is not UTF-8 has surrogates, which AMP cannot encode.
        text = reason[:MAX_REASON].encode(errors="backslashreplace").decode()
        sent: Deferred[object] = self.callRemote(StartFailed, reason=text, permanent=permanent)
        return sent.addCallback(lambda _: None)

    def ask(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Ask the supervisor what an operator can ask; fails with OperationFailed."""
        asked: Deferred[dict[str, Any]] = self.callRemote(Ask, what=what, arguments=arguments)
        return asked.addCallback(lambda response: response["answer"])

    def connectionMade(self) -> None:
        super().connectionMade()
        self._made()

    @Listen.responder
    def _listen(
        self, descriptor: int, family: int, endpoint: str, certificate: str | None = None
    ) -> dict[str, Any]:
        self.listening_sockets.append((descriptor, family, endpoint, certificate or ""))
        return {}

    @Stats.responder
    def _answer_stats(self) -> "Deferred[dict[str, str]]":
        try:
            statistics = json.dumps(self._stats())
        except Exception:
            # An exception here would make AMP close the connection, and this process would exit.
            self.log.failure("cannot collect the statistics")
            statistics = "{}"
        return succeed({"stats": statistics})

    @Inspect.responder
    def _answer_inspect(self, what: str, arguments: dict[str, Any]) -> "Deferred[dict[str, Any]]":
        asked = maybeDeferred(self._inspect, what, arguments)
        return asked.addCallbacks(lambda answer: {"answer": answer}, self._inspect_failed)

    def _inspect_failed(self, failure: Failure) -> Failure:
        if failure.check(OperationFailed):
            return failure
        if failure.check(ValueError):
            return Failure(OperationFailed(failure.getErrorMessage()))
        self.log.failure("cannot answer an operator", failure)
        return Failure(OperationFailed("internal error; the log of the node has the reason"))

    @Stop.responder
    def _answer_stop(self, handing_over: bool | None = None) -> dict[str, Any]:
        self._stop(bool(handing_over))
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._lost()
