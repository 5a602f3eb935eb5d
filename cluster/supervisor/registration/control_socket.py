"""ControlSocket: the runtime folder, and the socket in it that the children connect to.

Both are made again if somebody deletes them (cluster.net.runtime_watch).
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory

from cluster.net.runtime_directory import RuntimeDirectory
from cluster.net.runtime_watch import RuntimeWatch, SocketFileWatch, stop_listening
from cluster.supervisor.control_connection.child_link import ChildLink
from cluster.supervisor.control_connection.commands import BROKER_SLOT


class ControlSocket:
    """Call ``listen`` first, ``watch`` when the reactor runs, and ``stop`` and ``release`` at the
    end.

    Args:
        reactor: The reactor.
        factory: Makes the supervisor's ends of the connections.
    """

    runtime: RuntimeDirectory
    """The runtime folder; set by ``listen``."""

    def __init__(self, reactor: Any, factory: Factory) -> None:
        self._reactor = reactor
        self._factory = factory
        self._port: Any = None
        self._watches: tuple[RuntimeWatch, SocketFileWatch] | tuple[()] = ()

    def listen(self, port: int) -> None:
        """Claim the runtime folder of the cluster with this port, and listen in it.

        Raises:
            ConfigurationError: The folder cannot be used, or another cluster uses it.
        """
        self.runtime = RuntimeDirectory.claim(port, os.environ, os.getuid())
        self._listen()
        self._watches = (
            RuntimeWatch(self.runtime, self._reactor),
            SocketFileWatch(self.runtime.control, self._listen_again, self._reactor),
        )

    def _listen(self) -> None:
        self._port = self._reactor.listenUNIX(self.runtime.control, self._factory, mode=0o600)

    def _listen_again(self) -> "Deferred[object]":
        return stop_listening(self._port).addCallback(lambda _: self._listen())

    def watch(self) -> None:
        """Start to watch the files."""
        for watch in self._watches:
            watch.start()

    def missing(
        self, links: Iterable[ChildLink], is_ready: Callable[[ChildLink], bool]
    ) -> list[str]:
        """What was deleted from the folder, as phrases: nobody can connect there.

        Args:
            links: The connections of the children.
            is_ready: Whether a child serves, so that its socket must be there.
        """
        if not self._watches:
            return []
        problem = self._watches[0].problem
        if problem:
            return [problem]
        paths = [self.runtime.control]
        for link in links:
            if link.slot == BROKER_SLOT:
                paths.append(self.runtime.broker.removeprefix("ipc://"))
            elif link.slot is not None and is_ready(link):
                paths.append(self.runtime.publish_socket(link.slot, link.pid))
        return [f"{path} is gone" for path in paths if not os.path.lexists(path)]

    def remove_publish_socket(self, slot: int, pid: int) -> None:
        """Remove what a process that was killed has left."""
        if slot != BROKER_SLOT:
            with suppress(OSError):
                os.unlink(self.runtime.publish_socket(slot, pid))

    def stop(self) -> None:
        """Stop watching."""
        for watch in self._watches:
            watch.stop()

    def close(self) -> "Deferred[object]":
        """Stop listening."""
        return succeed(None) if self._port is None else stop_listening(self._port)

    def release(self) -> None:
        """Remove the folder."""
        if self._watches:
            self.runtime.release()
