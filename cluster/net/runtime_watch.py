"""Makes the runtime folder and the Unix sockets in it again after somebody has deleted them.

The end of a login session deletes /run/user/UID, and tools delete old files in /tmp. Connections
that exist are not affected, but nobody can connect any more: no restarted process, and no external
publisher. So the owner of the folder watches the folder, and each process watches its own socket.
"""

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import ConfigurationError
from cluster.net.runtime_directory import RuntimeDirectory

CHECK_S = 1.0
"""Seconds between two checks, which are two system calls each."""

_log = Logger()


class _Watch:
    """Calls ``check`` every CHECK_S seconds from ``start`` to ``stop``."""

    def __init__(self, clock: IReactorTime) -> None:
        self._checks = LoopingCall(self.check)
        self._checks.clock = clock

    def start(self) -> None:
        """Start checking."""
        self._checks.start(CHECK_S, now=False).addErrback(self._broken)

    def stop(self) -> None:
        """Stop checking. Does nothing if it was not started."""
        if self._checks.running:
            self._checks.stop()

    def check(self) -> "Deferred[object] | None":
        """Check once; the next check comes after the Deferred has fired."""
        raise NotImplementedError

    def _broken(self, failure: Failure) -> None:
        _log.failure("the runtime folder is not watched any more", failure)


class RuntimeWatch(_Watch):
    """The owner's watch over its folder. ``problem`` says what is wrong, or is empty."""

    def __init__(self, directory: RuntimeDirectory, clock: IReactorTime) -> None:
        super().__init__(clock)
        self._directory = directory
        self._reported = ""

    @property
    def problem(self) -> str:
        """Why no process can connect at this moment, as a phrase."""
        if self._directory.is_intact():
            return ""
        return self._reported or f"the runtime folder {self._directory.path} is gone"

    def check(self) -> None:
        if self._directory.is_intact():
            return
        try:
            self._directory.make_again()
        except ConfigurationError as error:
            problem = f"the runtime folder {self._directory.path} is gone: {error}"
            if problem != self._reported:
                self._reported = problem
                _log.error("{problem}; trying again", problem=problem)
            return
        self._reported = ""
        _log.warn("the runtime folder {path} was gone; made it again", path=self._directory.path)


class SocketFileWatch(_Watch):
    """Watches the file of a Unix socket, in a folder that another watch makes again.

    Args:
        path: The file.
        listen_again: Called when the file is gone and the folder is there; may return a Deferred.
        clock: The reactor.
    """

    def __init__(self, path: str, listen_again: Callable[[], Any], clock: IReactorTime) -> None:
        super().__init__(clock)
        self._path = path
        self._listen_again = listen_again
        self._failing = False

    def check(self) -> "Deferred[object] | None":
        if os.path.lexists(self._path) or not os.path.isdir(os.path.dirname(self._path)):
            return None
        return maybeDeferred(self._listen_again).addCallbacks(self._done, self._failed)

    def _done(self, _: object) -> None:
        self._failing = False
        _log.warn("{path} was gone; listening there again", path=self._path)

    def _failed(self, failure: Failure) -> None:
        if not self._failing:
            self._failing = True
            _log.error(
                "{path} is gone, and listening there again fails: {reason}; trying again",
                path=self._path,
                reason=failure.getErrorMessage(),
            )


def stop_listening(port: Any) -> "Deferred[object]":
    """Close a Unix port whose file may be gone, which is an error for Twisted."""
    return maybeDeferred(port.stopListening).addErrback(lambda failure: failure.trap(OSError))
