"""SupervisorLink: a child's end of its connection to the supervisor."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import connectionDone
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

MAX_REASON = 8192
"""Characters of StartFailed.reason that are sent. AMP raises for values above 64 KiB."""


def _nothing_to_inspect(what: str, arguments: dict[str, Any]) -> "Deferred[Any]":
    raise OperationFailed("this process has no clients")


class SupervisorLink(QuietAMP):
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
