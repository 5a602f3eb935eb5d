"""The commands of the control connection, and the class of both its ends."""

from typing import Any, ClassVar

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.control_connection.json_argument import Json

BROKER_SLOT = -1
"""The slot that the broker registers for."""

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


class Ask(amp.Command):
    """Operator to supervisor: a method of Operations, and its keyword arguments."""

    arguments: ClassVar[_Arguments] = [(b"what", amp.Unicode()), (b"arguments", Json())]
    response: ClassVar[_Arguments] = [(b"answer", Json())]
    errors: ClassVar[dict[type[Exception], bytes]] = {OperationFailed: b"FAILED"}


class Inspect(amp.Command):
    """Supervisor to node: a method of the node's Inspection, and its keyword arguments."""

    arguments: ClassVar[_Arguments] = [(b"what", amp.Unicode()), (b"arguments", Json())]
    response: ClassVar[_Arguments] = [(b"answer", Json())]
    errors: ClassVar[dict[type[Exception], bytes]] = {OperationFailed: b"FAILED"}


class QuietAMP(amp.AMP):
    """Does not log connections: AMP would log two addresses, which are both the socket's path."""

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
