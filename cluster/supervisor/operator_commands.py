"""The commands of an operator, over the private control socket of a running cluster.

The console script ``c10k`` connects to the socket, sends one command and waits for its response.
Only processes of the cluster's user can connect. ``cluster.supervisor.control_connection`` receives
the commands, and the supervisor performs them.
"""

from typing import ClassVar

from twisted.protocols import amp

from cluster.core.exceptions import OperationFailed


class Restart(amp.Command):
    """Replace all processes, one after the other. The response comes when all are replaced."""

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = [(b"summary", amp.Unicode())]
    errors: ClassVar[dict[type[Exception], bytes]] = {OperationFailed: b"FAILED"}
