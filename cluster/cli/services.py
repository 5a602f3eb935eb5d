"""The twistd plugins: options and services of ``c10k``, ``c10k-node`` and ``c10k-broker``.

This module imports no reactor before makeService is called, because c10k-node must choose it.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from zlib import crc32

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.cli import process_setup
from cluster.cli.broker_options import BrokerOptions
from cluster.cli.log_signals import handle_log_signals
from cluster.cli.options import NodeOptions, Options
from cluster.cli.parsing import installed_version
from cluster.cli.startup_errors import explain_failed_start
from cluster.cli.twistd_log import LoggedService, log_of_twistd
from cluster.cli.value_checks import site_folder
from cluster.logs.process_log import ProcessLog
from cluster.logs.python_logging import reopen_files
from cluster.net import listening_sockets
from cluster.net.addresses import first_port
from cluster.net.bus_keys import BusKeys
from cluster.net.runtime_directory import RuntimeDirectory
from cluster.net.runtime_watch import RuntimeWatch
from cluster.net.unix_listener import UnixListener


@dataclass(frozen=True)
class Tap:
    """A twistd plugin: twistd reads these two attributes."""

    Options: Callable[[], Any]
    makeService: Callable[[Any], Service]


def _make_cluster(options: Options) -> Service:
    from twisted.internet import reactor

    from cluster.supervisor.config import SupervisorConfig
    from cluster.supervisor.supervisor import Supervisor

    log = _prepare(options, reactor, "c10k")
    config = SupervisorConfig(
        nodes=options.nodes,
        listens=options.listens,
        admin=options.admin,
        bus=options.bus,
        uplink=options.uplink,
        node=options.given_node_config(),
        drain_timeout=options.drain_timeout,
        restart_spread=options.restart_spread,
        spare=bool(options["spare"]),
        site_folder=site_folder(options.settings),
        log_format=options["log-format"],
        blocked_loop_timeout=options.site["BLOCKED_LOOP_TIMEOUT"],
        admin_hosts=tuple(options.site["ADMIN_HOSTS"]),
        version=installed_version("django-c10k"),
    )
    if options["end-with-parent"]:
        process_setup.signal_at_end_of_parent(signal.SIGTERM)
    give_up = partial(process_setup.exit_with_failure, reactor, "c10k")
    supervisor = Supervisor(config, reactor, give_up)
    process_setup.restart_on_hang_up(reactor, supervisor.hang_up)
    return _with_log(supervisor, log, reactor, supervisor.use_log, supervisor.reopen_logs)


def _make_node(options: NodeOptions) -> Service:
    if "twisted.internet.reactor" not in sys.modules:
        process_setup.install_asyncio_reactor()
    from twisted.internet import reactor

    log = _prepare(options, reactor, "c10k-node")
    _ignore_hang_up(reactor)
    node = StandaloneNode(options, reactor)
    return _with_log(node, log, reactor, node.use_log)


def _make_broker(options: BrokerOptions) -> Service:
    if options.uplink is not None and "twisted.internet.reactor" not in sys.modules:
        process_setup.install_asyncio_reactor()
    from twisted.internet import reactor

    log = _prepare(options, reactor, "c10k-broker")
    _ignore_hang_up(reactor)
    return _with_log(StandaloneBroker(options, reactor), log, reactor)


def _prepare(options: Any, reactor: Any, name: str) -> ProcessLog | None:
    """Set up the process; returns its log, or None if twistd writes that."""
    process_setup.use_monotonic_clock(reactor)
    log = log_of_twistd(options.parent or {}, name, options["log-format"])
    if log is None:
        process_setup.name_log_lines(name)
    process_setup.print_configuration_errors(name)
    process_setup.stop_on_first_signal(reactor)
    return log


def _with_log(
    service: Service,
    log: ProcessLog | None,
    reactor: Any,
    use_log: Callable[[ProcessLog], object] = lambda log: None,
    reopen_more: Callable[[], object] = lambda: None,
) -> Service:
    """Return what twistd starts: a service, with the log of its process.

    Args:
        service: The service.
        log: The log; None if twistd writes it.
        reactor: The reactor.
        use_log: Called with the log, if it is not None.
        reopen_more: Called after the log's files have been opened again.
    """

    def reopen() -> None:
        try:
            (reopen_files if log is None else log.reopen)()
        finally:
            reopen_more()

    handle_log_signals(reactor, reopen)
    if log is None:
        return service
    use_log(log)
    return LoggedService(service, log, reactor)


def _ignore_hang_up(reactor: Any) -> None:
    text = "stop this process and start it again to load new code"
    process_setup.ignore_signals(reactor, [signal.SIGHUP], text)


def _end_failed_start(log: Logger, reactor: Any, name: str, failure: Failure) -> None:
    reason, _ = explain_failed_start(log, failure)
    log.critical("cannot start: {reason}", reason=reason)
    process_setup.exit_with_failure(reactor, name, reason)


class StandaloneNode(Service):
    """A node without a supervisor, with its own sockets and runtime folder."""

    log = Logger()

    def __init__(self, options: NodeOptions, reactor: Any) -> None:
        self._options = options
        self._reactor = reactor
        self._sockets: list[socket.socket] = []
        self._unix: dict[str, UnixListener] = {}
        self._runtime: RuntimeDirectory | None = None
        self._watch: RuntimeWatch | None = None
        self._process_log: ProcessLog | None = None

    def use_log(self, log: ProcessLog) -> None:
        """Show the errors of a site without LOGGING in this log."""
        self._process_log = log

    def privilegedStartService(self) -> None:
        self._listens, (self._sockets,) = listening_sockets.open_slots(
            self._options.listens, 1, self._unix
        )

    def startService(self) -> None:
        from cluster.node.config import ListeningSocket, NodeConfig
        from cluster.node.node import Node

        if not self._sockets:
            self.privilegedStartService()
        super().startService()
        name = self._options["name"] or f"{socket.gethostname()}-{os.getpid()}"
        # Without a port, the number of the folder is above all ports.
        number = first_port(self._listens) or 1 << 16 | crc32(self._listens[0].host.encode())
        self._runtime = RuntimeDirectory.claim(number, os.environ, os.getuid())
        self._watch = RuntimeWatch(self._runtime, self._reactor)
        config = NodeConfig(
            **self._options.node_config(name, self._options.bus),
            publish_socket=self._runtime.publish_socket(0, os.getpid()),
        )
        # Detach the sockets, because the node closes the descriptors. If a descriptor were closed
        # twice, it could belong to another object by then, such as a ZeroMQ socket, and ZeroMQ
        # aborts the process.
        listening = [
            ListeningSocket(sock.detach(), address.family, address.text)
            for sock, address in zip(self._sockets, self._listens, strict=True)
        ]
        self._capacity = listening_sockets.connection_capacity(
            1, listening_sockets.raise_descriptor_limit()
        )
        self._node = Node(config, listening, self._reactor)
        if self._process_log is not None:
            self._node.django_is_loaded = self._process_log.django_is_loaded
        # Only when the reactor runs: twistd may stop this process before that.
        self._reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        self._node.ready.addCallbacks(self._announce, self._failed)
        self._node.startService()

    def _announce(self, _: None) -> None:
        if self._watch is not None:
            self._watch.start()
        self.log.info(
            "c10k-node ready: {urls} ({name}, up to {capacity:,} connections)",
            urls=", ".join(address.url for address in self._listens),
            name=self._node.config.name,
            capacity=self._capacity,
        )

    def _failed(self, failure: Failure) -> None:
        _end_failed_start(self.log, self._reactor, "c10k-node", failure)

    def stopService(self) -> "Deferred[Any]":
        """Drain. The process exits even if a view does not return."""
        super().stopService()
        process_setup.hard_exit_after(self._options.drain_timeout, self._exit)
        stopped = self._node.stopService() if self._node.running else succeed(None)
        return stopped.addBoth(self._clean_up)

    def _exit(self) -> None:
        if self._process_log is not None:
            self._process_log.stop()
        os._exit(0)

    def _clean_up(self, result: Any) -> Any:
        listening_sockets.release_all(self._unix)
        if self._runtime is not None and self._watch is not None:
            self._watch.stop()
            self._runtime.release()
        return result


class StandaloneBroker(Service):
    """A broker without a supervisor."""

    log = Logger()

    def __init__(self, options: BrokerOptions, reactor: Any) -> None:
        self._options = options
        self._reactor = reactor
        self._runtime: RuntimeDirectory | None = None
        self._watch: RuntimeWatch | None = None

    def startService(self) -> None:
        from cluster.broker.broker import Broker

        super().startService()
        listening_sockets.raise_descriptor_limit()
        address, folder, history = self._options.bus, self._options.bus_keys, ""
        if address is None:
            self._runtime = RuntimeDirectory.claim_for_broker(os.environ, os.getuid())
            self._watch = RuntimeWatch(self._runtime, self._reactor)
            address, history = self._runtime.broker, self._runtime.history
        keys = BusKeys.load(folder, "broker") if folder else None
        uplink = self._options.uplink
        if uplink is None:
            self._broker = Broker(address, self._reactor, keys, history)
        else:
            from cluster.broker.gateway_broker import make_gateway

            config = asdict(uplink)
            self._broker = make_gateway(address, self._reactor, config, history, keys)
        # Start only when the reactor runs: a start that fails stops the reactor.
        self._reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        self._broker.ready.addCallbacks(self._announce, self._failed)
        self._broker.startService()

    def _announce(self, _: None) -> None:
        if self._watch is not None:
            self._watch.start()
        self.log.info("c10k-broker ready: zmq+{address}", address=self._broker.address)

    def _failed(self, failure: Failure) -> None:
        _end_failed_start(self.log, self._reactor, "c10k-broker", failure)

    def stopService(self) -> "Deferred[Any]":
        """Stop, after a goodbye to the other machines if there are any."""
        super().stopService()
        return maybeDeferred(self._broker.stopService).addBoth(self._clean_up)

    def _clean_up(self, result: Any) -> Any:
        if self._runtime is not None and self._watch is not None:
            self._watch.stop()
            self._runtime.release()
        return result


cluster = Tap(Options, _make_cluster)
node = Tap(NodeOptions, _make_node)
broker = Tap(BrokerOptions, _make_broker)
