"""A child of the supervisor: it registers, starts, reports when it serves, and stops.

A child connects to the control socket, and receives its configuration. It exits

* with EXIT_STOPPED after draining, at the supervisor's request or after SIGTERM or SIGQUIT (nodes
  only: a service manager may signal all processes at once, and the broker must outlive the nodes).
  It exits at the latest 2 s after the drain timeout, because Twisted's thread pool would wait
  indefinitely for a view that does not return;
* with EXIT_FAILED when it cannot start, after it has reported the reason;
* with EXIT_ORPHANED at once when the control connection is lost: the supervisor is gone, and a
  child that kept the ports would prevent the next supervisor from starting.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from cluster.cli.process_setup import hard_exit_after
from cluster.cli.startup_errors import explain_failed_start
from cluster.core.exceptions import OperationFailed
from cluster.supervisor.control_connection.supervisor_link import SupervisorLink

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_ORPHANED = 3


class ChildService(Protocol):
    """The service that a child runs: a Node or a Broker."""

    ready: "Deferred[None]"

    handing_over: bool
    """Set before ``stopService`` if the replacement serves already."""

    ask_supervisor: Callable[[str, dict[str, Any]], "Deferred[Any]"] | None
    """Set before ``startService``: asks an operator's question."""

    def startService(self) -> None: ...
    def stopService(self) -> object: ...
    def hurry(self) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def inspect(self, what: str, arguments: dict[str, Any]) -> "Deferred[Any]": ...


MakeService = Callable[[dict[str, Any], list[tuple[int, int, str, str]]], ChildService]


class Child:
    """One child: it registers, starts, reports and stops.

    Args:
        reactor: The reactor of the process.
        slot: The slot of the node, or BROKER_SLOT.
        make_service: Called with the configuration and the listening sockets after the child has
            registered.
        exit: Called with an exit status; must end the process at once.
        complete: Called with the configuration before that; adds what the site's settings say.
        fingerprint: Of the code that this process runs, if the supervisor compares it later.
        dropped_lines: Returns how many lines the log of this process has dropped.
        load: For a spare process: loads the site before there is a slot.
        named: Called with the slot of a spare process.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        slot: int,
        make_service: MakeService,
        exit: Callable[[int], object] = os._exit,
        complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config,
        fingerprint: str | None = None,
        dropped_lines: Callable[[], int] = lambda: 0,
        load: Callable[[], object] | None = None,
        named: Callable[[int], object] = lambda slot: None,
    ) -> None:
        self.status = EXIT_STOPPED
        self._reactor = reactor
        self._slot = slot
        self._make_service = make_service
        self._exit = exit
        self._complete = complete
        self._fingerprint = fingerprint
        self._dropped_lines = dropped_lines
        self._load = load
        self._named = named
        self._service: ChildService | None = None
        self._stopping = self._handing_over = False
        self._drain_timeout = self._restart_spread = 0.0
        self.link = SupervisorLink(
            self._connected, self._stats, self.stop, self._orphaned, self._inspect
        )

    def connect(self, path: str) -> None:
        """Connect to the supervisor, and register when connected."""
        self._reactor.addSystemEventTrigger("before", "shutdown", self._shutdown)
        factory = _LinkFactory(self.link, partial(self._unreachable, path))
        self._reactor.connectUNIX(path, factory)

    def _connected(self) -> None:
        if self._load is not None:
            loaded = maybeDeferred(self._load)
            loaded.addCallback(lambda _: self.link.standby(os.getpid()))
            loaded.addCallbacks(self._register, self._not_loaded)
        else:
            self._register(self._slot)

    def _register(self, slot: int) -> None:
        self._slot = slot
        self._named(slot)
        registered = self.link.register(slot, os.getpid())
        registered.addCallback(self._start).addErrback(self._failed)

    def _not_loaded(self, failure: Failure) -> None:
        if self._stopping:
            return
        self.status = EXIT_FAILED
        reason, _ = explain_failed_start(self.log, failure)
        self.log.error("the spare process cannot start: {reason}", reason=reason)
        self.stop()

    def _start(self, config: dict[str, Any]) -> "Deferred[None]":
        config = self._complete(config)
        self._drain_timeout = float(config["drain_timeout"])
        self._restart_spread = float(config.get("restart_spread", 0.0))
        self._service = self._make_service(config, self.link.listening_sockets)
        self._service.ask_supervisor = self.link.ask
        self._service.startService()
        return self._service.ready.addCallback(self._report)

    def _report(self, _: None) -> "Deferred[None]":
        return self.link.ready(
            drain_timeout=self._drain_timeout,
            restart_spread=self._restart_spread,
            fingerprint=self._fingerprint,
        )

    def _failed(self, failure: Failure) -> None:
        if self._stopping:
            return
        self.status = EXIT_FAILED
        reason, permanent = explain_failed_start(self.log, failure)
        reported = self.link.start_failed(reason, permanent)
        reported.addErrback(self._not_understood, reason)
        reported.addBoth(lambda _: self.stop())

    def _not_understood(self, failure: Failure, reason: str) -> None:
        """Log the reason: a supervisor of an earlier release does not know the command."""
        failure.trap(amp.UnhandledCommand)
        self.log.critical("cannot start: {reason}", reason=reason)

    def stop(self, handing_over: bool = False) -> None:
        """Drain and end. Idempotent, except that a stop hurries an earlier one that hands over.

        Args:
            handing_over: Whether the replacement of this process serves already.
        """
        if not self._stopping:
            self._stopping = True
            if self._service is not None:
                self._service.handing_over = self._handing_over = handing_over
            self._reactor.stop()
        elif self._handing_over and not handing_over and self._service is not None:
            self._handing_over = False
            self._service.hurry()

    def _shutdown(self) -> "Deferred[None]":
        self._stopping = True
        seconds = self._drain_timeout + (self._restart_spread if self._handing_over else 0.0)
        hard_exit_after(seconds, lambda: self._exit(self.status))
        service = self._service
        stopped = succeed(None) if service is None else maybeDeferred(service.stopService)
        return stopped.addBoth(self._drained)

    def _drained(self, result: object) -> None:
        if isinstance(result, Failure):
            self.log.failure("error while stopping", result)
        # When the trigger returns, the reactor closes all connections, the control connection too.
        self._exit = lambda status: None

    def _stats(self) -> dict[str, Any]:
        statistics = {} if self._service is None else self._service.stats()
        return {**statistics, "log_lines_dropped": self._dropped_lines()}

    def _inspect(self, what: str, arguments: dict[str, Any]) -> "Deferred[Any]":
        if self._service is None:
            raise OperationFailed("this process is starting")
        return self._service.inspect(what, arguments)

    def _unreachable(self, path: str, reason: Failure) -> None:
        self.log.critical(
            "cannot start: no connection to the supervisor at {path}: {reason}",
            path=path,
            reason=reason.getErrorMessage(),
        )
        self.status = EXIT_FAILED
        self.stop()

    def _orphaned(self) -> None:
        self._exit(EXIT_ORPHANED)


class _LinkFactory(ClientFactory):
    """Returns one SupervisorLink, for the only connection."""

    noisy = False

    def __init__(self, link: SupervisorLink, failed: Callable[[Failure], None]) -> None:
        self._link = link
        self._failed = failed

    def buildProtocol(self, addr: Any) -> SupervisorLink:
        return self._link

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._failed(reason)
