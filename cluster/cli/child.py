"""A child of the supervisor: ``python -m cluster node|broker --control PATH [--slot K]``.

``twistd c10k`` starts these processes; users do not. A child connects to the control socket,
receives its configuration, starts, and reports when it serves. A node reads the options that are
not in the command line from the site's settings, which may have changed since the supervisor
started. It exits

* with EXIT_STOPPED after draining, at the supervisor's request or after SIGTERM or SIGQUIT (nodes
  only: a service manager may signal all processes at once, and the broker must outlive the nodes).
  It exits at the latest 2 s after the drain timeout, because Twisted's thread pool would wait
  indefinitely for a view that does not return;
* with EXIT_FAILED when it cannot start, after it has reported the reason;
* with EXIT_ORPHANED at once when the control connection is lost: the supervisor is gone, and a
  child that kept the ports would prevent the next supervisor from starting.

SIGHUP, which restarts the cluster if the supervisor receives it, is logged and has no effect here.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger, globalLogBeginner
from twisted.protocols import amp
from twisted.python.failure import Failure

from cluster.cli.fingerprint import code_fingerprint
from cluster.cli.log_signals import handle_log_signals
from cluster.cli.process_setup import (
    hard_exit_after,
    ignore_signals,
    install_asyncio_reactor,
    signal_at_end_of_parent,
    stop_on_first_signal,
    use_monotonic_clock,
)
from cluster.cli.startup_errors import explain_failed_start
from cluster.cli.value_checks import add_site_settings, check_settings
from cluster.core.exceptions import OperationFailed
from cluster.logs.formats import FORMATS
from cluster.logs.outputs import Descriptor
from cluster.logs.process_log import ProcessLog
from cluster.supervisor.control_connection.commands import BROKER_SLOT
from cluster.supervisor.control_connection.supervisor_link import SupervisorLink
from cluster.supervisor.heartbeat_pipe import HeartbeatThread

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_ORPHANED = 3

FINGERPRINT_S = 30
"""Seconds after which ``--fingerprint`` is given up; the supervisor waits for it."""

STDERR = 2


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


def make_node(
    log: ProcessLog, config: dict[str, Any], sockets: list[tuple[int, int, str, str]]
) -> ChildService:
    """Create the node of a slot, with the slot's listening sockets."""
    from twisted.internet import reactor

    from cluster.node.config import ListeningSocket, NodeConfig
    from cluster.node.node import Node

    node = Node(NodeConfig(**config), [ListeningSocket(*each) for each in sockets], reactor)
    node.django_is_loaded = log.django_is_loaded
    return node


def load_site(settings: str) -> None:
    """Import what a node needs, and the site, before there is a slot."""
    from cluster.node.node import load_django

    check_settings(settings)
    load_django(settings)
    importlib.import_module("cluster.node.assembly")


def make_broker(config: dict[str, Any], _: list[tuple[int, int, str, str]]) -> ChildService:
    """Create the cluster's own broker."""
    from twisted.internet import reactor

    from cluster.broker import Broker

    return Broker(config["address"], reactor, history=config["history"])


def log_to_supervisor(process: str, log_format: str, descriptor: int) -> ProcessLog:
    """Write the log of this process to the supervisor, in the form of the supervisor's own lines.

    Args:
        process: The name of this process.
        log_format: A key of FORMATS.
        descriptor: The supervisor's pipe for it.
    """
    if descriptor > STDERR:
        os.set_inheritable(descriptor, False)  # programs that a view starts must not hold it open
    log = ProcessLog(process, FORMATS[log_format](), Descriptor(descriptor), is_child=True)
    log.take_standard_streams(sys)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    log.start()
    return log


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line that ``Supervisor`` writes."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="A child process of twistd c10k; started by it."
    )
    parser.add_argument("kind", choices=["node", "broker"])
    parser.add_argument("--control", metavar="PATH", help="the control socket")
    parser.add_argument("--slot", type=int, default=BROKER_SLOT, help="which node (from 0)")
    parser.add_argument(
        "--fingerprint", action="store_true", help="print the fingerprint of the code, and exit"
    )
    parser.add_argument("--spare", metavar="SETTINGS", help="load this site, and wait for a slot")
    parser.add_argument("--log-format", choices=sorted(FORMATS), default="text")
    parser.add_argument("--log-descriptor", type=int, default=1, help="the pipe for the log")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> NoReturn:
    """Run a child until the supervisor asks it to stop."""
    arguments = parse_arguments(argv)
    if arguments.fingerprint:
        signal.alarm(FINGERPRINT_S)  # ends the process, even if an import never returns
    # Even if the loop is blocked and does not notice that the control connection is lost.
    signal_at_end_of_parent(signal.SIGKILL)
    # Ctrl-C sends SIGINT to the whole process group, but the supervisor stops each child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    is_node = arguments.kind == "node"
    if is_node:
        install_asyncio_reactor()
    process = f"node{arguments.slot}" if is_node else "broker"
    if arguments.spare:
        process = "spare"
    log = log_to_supervisor(process, arguments.log_format, arguments.log_descriptor)
    from twisted.internet import reactor

    def leave(status: int) -> NoReturn:
        if status != EXIT_ORPHANED:  # then nobody reads the log
            log.stop()
        # Not sys.exit(): the interpreter would wait for the threads of views that still run.
        os._exit(status)

    main_loop: Any = reactor
    use_monotonic_clock(main_loop)
    handle_log_signals(main_loop, log.reopen)
    if is_node:
        child = Child(
            main_loop,
            arguments.slot,
            partial(make_node, log),
            leave,
            add_site_settings,
            dropped_lines=lambda: log.dropped,
            load=partial(load_site, arguments.spare) if arguments.spare else None,
            named=lambda slot: log.rename(f"node{slot}"),
        )
        stop_on_first_signal(main_loop, child.stop)
    else:
        fingerprint = code_fingerprint("cluster.broker")
        if arguments.fingerprint:
            print(fingerprint, file=sys.__stdout__, flush=True)
            os._exit(EXIT_STOPPED)
        child = Child(
            main_loop,
            BROKER_SLOT,
            make_broker,
            leave,
            fingerprint=fingerprint,
            dropped_lines=lambda: log.dropped,
        )
        ignore_signals(
            main_loop, (signal.SIGTERM, signal.SIGQUIT), "the broker ends with its nodes"
        )
    ignore_signals(main_loop, (signal.SIGHUP,), "send it to the supervisor to restart the cluster")
    HeartbeatThread().watch(main_loop)
    child.connect(arguments.control)
    main_loop.run()
    leave(child.status)
