"""The questions of an operator to the supervisor, and of the supervisor to a node."""

from typing import ClassVar

from twisted.protocols import amp

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.operators.json_argument import Json

_Arguments = list[tuple[bytes, amp.Argument]]


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
