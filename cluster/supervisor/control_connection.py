"""The control connection between the supervisor and each of its children.

AMP over a Unix socket in the private runtime folder. The child speaks first::

    child       supervisor
    Register ->             I am process PID for slot K (the broker: slot -1)
             <- Listen      a listening socket's descriptor, one command for each
             <- (answer)    the configuration, as JSON
    Ready    ->             serving; once
             <- Stats       each second, and for every scrape; the answer is also the heartbeat
             <- Stop        drain and exit

Whoever loses this connection acts at once: a child exits, because its supervisor is gone; the
supervisor drops what it knew of the child, whose end the process monitor will report.
"""

import json
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

CANNOT_START = "cannot start: "
"""A child begins the line that says why it does not start with these words. The supervisor logs the
line once, although each of its nodes prints it."""

BROKER_SLOT = -1


_Arguments = list[tuple[bytes, amp.Argument]]


class Refused(Exception):
    """The supervisor does not know this child, or knows another one in its place."""


class Register(amp.Command):
    """Child to supervisor, first of all."""

    arguments: ClassVar[_Arguments] = [(b"slot", amp.Integer()), (b"pid", amp.Integer())]
    response: ClassVar[_Arguments] = [(b"config", amp.Unicode())]
    errors: ClassVar[dict[type[Exception], bytes]] = {Refused: b"REFUSED"}


class Listen(amp.Command):
    """Supervisor to node: a listening socket. The receiver owns the descriptor."""

    arguments: ClassVar[_Arguments] = [
        (b"descriptor", amp.Descriptor()),
        (b"family", amp.Integer()),
        (b"endpoint", amp.Unicode()),
    ]
    response: ClassVar[_Arguments] = []


class Ready(amp.Command):
    """Child to supervisor: serving."""

    arguments: ClassVar[_Arguments] = []
    response: ClassVar[_Arguments] = []


class Stats(amp.Command):
    """Supervisor to child: figures, as JSON. An answer also proves that the event loop turns."""

    arguments: ClassVar[_Arguments] = []
    response: ClassVar[_Arguments] = [(b"stats", amp.Unicode())]


class Stop(amp.Command):
    """Supervisor to child: drain and exit."""

    arguments: ClassVar[_Arguments] = []
    response: ClassVar[_Arguments] = []


class Registry(Protocol):
    """What the supervisor's side of the connection needs of the supervisor."""

    def registered(self, link: "ChildLink", slot: int, pid: int) -> dict[str, Any]:
        """A child has come: its configuration. Raises Refused."""

    def listeners(self, slot: int) -> list[tuple[int, int, str]]:
        """The listening sockets for a child: (descriptor, family, endpoint)."""

    def became_ready(self, link: "ChildLink") -> None:
        """The child serves."""

    def left(self, link: "ChildLink") -> None:
        """A registered child's connection is gone."""


class _Quiet(amp.AMP):
    """AMP logs each connection's addresses, both of which are the socket's path."""

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


class ChildLink(_Quiet):
    """The supervisor's end of one child's connection."""

    log = Logger()

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry
        self.slot: int | None = None
        self.pid = 0

    @Register.responder
    def _register(self, slot: int, pid: int) -> "Deferred[dict[str, str]]":
        config = self._registry.registered(self, slot, pid)
        self.slot, self.pid = slot, pid
        sent = [
            self.callRemote(Listen, descriptor=descriptor, family=family, endpoint=endpoint)
            for descriptor, family, endpoint in self._registry.listeners(slot)
        ]
        return gatherResults(sent, consumeErrors=True).addCallback(
            lambda _: {"config": json.dumps(config)}
        )

    @Ready.responder
    def _ready(self) -> dict[str, Any]:
        self._registry.became_ready(self)
        return {}

    def stats(self) -> "Deferred[dict[str, Any]]":
        """Ask for the child's figures; fails if the connection ends first."""
        return self.callRemote(Stats).addCallback(lambda answer: json.loads(answer["stats"]))

    def stop(self) -> None:
        """Tell the child to drain and exit; its process's end is the answer."""
        self.callRemote(Stop).addErrback(lambda _: None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.slot is not None:
            self._registry.left(self)


class ControlFactory(Factory):
    """Listens on the control socket."""

    noisy = False

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def buildProtocol(self, addr: Any) -> ChildLink:
        link = ChildLink(self._registry)
        link.factory = self
        return link


class SupervisorLink(_Quiet):
    """The child's end. Call ``register`` once connected, ``ready`` once serving.

    ``made`` is called when connected, ``stats`` and ``stop`` when the supervisor asks for it, and
    ``lost`` when it is gone.
    """

    log = Logger()

    def __init__(
        self,
        made: Callable[[], object],
        stats: Callable[[], dict[str, Any]],
        stop: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        super().__init__()
        self._made = made
        self._stats = stats
        self._stop = stop
        self._lost = lost
        self.listeners: list[tuple[int, int, str]] = []

    def register(self, slot: int, pid: int) -> "Deferred[dict[str, Any]]":
        """Say who we are; fires with the configuration when ``listeners`` is complete."""
        return self.callRemote(Register, slot=slot, pid=pid).addCallback(
            lambda answer: json.loads(answer["config"])
        )

    def ready(self) -> "Deferred[None]":
        """Tell the supervisor that we serve."""
        return self.callRemote(Ready).addCallback(lambda _: None)

    def connectionMade(self) -> None:
        super().connectionMade()
        self._made()

    @Listen.responder
    def _listen(self, descriptor: int, family: int, endpoint: str) -> dict[str, Any]:
        self.listeners.append((descriptor, family, endpoint))
        return {}

    @Stats.responder
    def _answer_stats(self) -> "Deferred[dict[str, str]]":
        try:
            statistics = json.dumps(self._stats())
        except Exception:
            # AMP would close the connection, and we would exit: too much for a missing figure.
            self.log.failure("no figures for the supervisor")
            statistics = "{}"
        return succeed({"stats": statistics})

    @Stop.responder
    def _answer_stop(self) -> dict[str, Any]:
        self._stop()
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._lost()
