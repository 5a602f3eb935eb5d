"""The supervisor: keeps a broker and its nodes alive, and holds the listening sockets for them.

It does not process the messages of clients. It

* starts the children, and restarts them when they end, after a delay that grows each time one ends
  before it was ready (``cluster.supervisor.child_processes``);
* holds the listening sockets of each node's slot, and closes those of a slot that stays without a
  serving process (``cluster.supervisor.listening_slots``);
* sends each child that registers its configuration and its slot's sockets
  (``cluster.supervisor.registration``);
* replaces a child that is stopped, or whose event loop is blocked for too long
  (``cluster.supervisor.heartbeat``);
* answers operators (``cluster.supervisor.admin_port``, ``cluster.supervisor.operators``);
* stops if an error in the site's code prevents the first start;
* starts the children that wait for that when the site's code has changed
  (``cluster.supervisor.restarting.code_changes``);
* replaces all processes one after the other, when an operator asks for it
  (``cluster.supervisor.restarting.rolling_restart``);
* stops the nodes first, which drain, and then the broker.

This module imports twisted.runner.procmon, which imports the default reactor. So
``cluster.cli.services`` imports this module only when it creates the service.
"""

import math
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from cluster.core.exceptions import ConfigurationError, OperationFailed
from cluster.logs.process_log import ProcessLog
from cluster.net import listening_sockets
from cluster.net.addresses import first_port
from cluster.supervisor.admin_port import AdminPort
from cluster.supervisor.certificates import Certificates
from cluster.supervisor.child_processes import SPARE, Children
from cluster.supervisor.config import SupervisorConfig
from cluster.supervisor.control_connection.child_link import ChildLink, ControlFactory
from cluster.supervisor.heartbeat import Heartbeat
from cluster.supervisor.listening_slots import ListeningSlots
from cluster.supervisor.operators.admin_source import AdminSource
from cluster.supervisor.operators.cluster_view import ClusterView
from cluster.supervisor.operators.scaling import Scaling
from cluster.supervisor.registration.control_socket import ControlSocket
from cluster.supervisor.registration.launcher import Launcher, broker_arguments
from cluster.supervisor.registration.registry import Registry
from cluster.supervisor.registration.roster import BROKER, Roster
from cluster.supervisor.restarting import broker_code
from cluster.supervisor.restarting.code_changes import CodeChanges
from cluster.supervisor.restarting.first_start import FirstStart
from cluster.supervisor.restarting.rolling_restart import RollingRestart
from cluster.supervisor.restarting.spare import Spare

KILL_AFTER_DRAIN_S = 4.0
"""Seconds from the end of the drain timeout to SIGKILL; more than the 2 s after which a child exits
without waiting."""


class Supervisor(Service):
    """A whole cluster. The start methods raise ConfigurationError, whose text is for the operator.

    ``give_up(reason)`` is called when no node can start, and must stop the reactor.
    """

    log = Logger()

    def __init__(
        self, config: SupervisorConfig, reactor: Any, give_up: Callable[[str], object]
    ) -> None:
        self.config = config
        self._give_up = give_up
        self._first_start = FirstStart()
        self.stopping = False
        self._reactor = reactor
        self.roster = roster = Roster(config.nodes, own_broker=config.bus is None)
        self._certificates = Certificates(config.listens)
        self._slots = ListeningSlots(roster.nodes, config.listens, reactor)
        self._admin_port = AdminPort(config.admin, reactor, config.admin_hosts)
        self._announced = False
        self._stopped: Deferred[None] | None = None
        self.children = Children(
            reactor, self._child_ended, self._candidate_ended, self._ask_to_stop, BROKER
        )
        self._set_stop_times(config.drain_timeout, config.restart_spread)
        self._heartbeat = Heartbeat(
            lambda: [name for name in roster.names if not self.children.is_drained(name)],
            self.children,
            reactor,
            config.blocked_loop_timeout,
        )
        self.children.heard = self._heartbeat.heard
        self._restart = RollingRestart(
            lambda: roster.nodes, roster.broker, self._is_broker_current, self.children, reactor
        )
        self._spare = Spare(self.children)
        self._code_changes = CodeChanges(
            config.site_folder,
            [path for path in sys.path if os.path.isdir(path)],
            self._all_are_ready,
            self.children.waiting,
            self.children.start_now,
            reactor,
        )
        self.registry = Registry(
            self,
            config,
            roster,
            self.children,
            self._slots,
            self._heartbeat,
            self._restart,
            self._spare,
            self._certificates,
        )
        self.control = ControlSocket(reactor, ControlFactory(self.registry, self))
        self._launcher = Launcher(config, roster, self.children, self.control)
        self.admin = AdminSource(
            roster, self.children, self._heartbeat, self.registry, self.control, self._activity
        )
        self._view = self.admin.view = ClusterView(
            roster,
            self.children,
            self._heartbeat,
            config,
            reactor,
            self.admin.missing,
            self._activity,
            self.restart,
        )
        self._scaling = self._view.scaling = Scaling(
            roster,
            self.children,
            self._slots,
            self._launcher.add,
            self._restart,
            self._view.status.record,
            config.bus != "local",
            reactor,
        )

    # Start.

    def privilegedStartService(self) -> None:
        """Read the certificates and open all listening sockets, before twistd gives up root
        privileges."""
        self._certificates.read()
        self._slots.open()
        try:
            self._admin_port.claim()
        except ConfigurationError:
            self._slots.close()
            raise

    def startService(self) -> None:
        if not self._slots.listens:
            self.privilegedStartService()
        super().startService()
        limit = listening_sockets.raise_descriptor_limit()
        self._view.descriptor_limit = limit
        self._view.urls = [address.url for address in self._slots.listens]
        self.log.info(
            "starting {nodes}, {settings}: up to {capacity:,} connections"
            " (descriptor limit of a node: {limit:,})",
            nodes=self.roster.count(),
            settings=self.config.node["settings"],
            capacity=self._view.capacity(),
            limit=limit,
        )
        self.control.listen(first_port(self._slots.listens) or self._admin_port.address.port)
        self._admin_port.listen(self.admin)
        for name in self.roster.names:
            self._launcher.add(name)
        # Start children only now: the reactor needs its signal handlers to notice that a process
        # ends.
        self._reactor.callWhenRunning(self._start_children)

    def _start_children(self) -> None:
        if self.stopping:
            return
        self.children.startService()
        self.control.watch()
        self._heartbeat.start()
        self._view.status.start()

    # Events of the children (registration.registry.Owner).

    def child_ready(self, name: str, link: ChildLink) -> None:
        """The current process of a child serves."""
        if link.drain_timeout is not None and link.restart_spread is not None:
            self._set_stop_times(link.drain_timeout, link.restart_spread)
        if name != BROKER:
            self._first_start.served()
        self._view.became_ready(name)
        self.log.info("{name} ready (process {pid})", name=name, pid=link.pid)
        if not self._announced and self._all_are_ready():
            self._announced = True
            self._announce()

    def _announce(self) -> None:
        self.log.info(
            "c10k ready: {urls} ({nodes}, {settings}, up to {capacity:,} connections),"
            " admin {admin}",
            urls=", ".join(address.url for address in self._slots.listens),
            nodes=self.roster.count(),
            settings=self.config.node["settings"],
            capacity=self._view.capacity(),
            admin=self._admin_port.address.url,
        )
        if self.config.spare:
            self._launcher.add(SPARE)

    def _all_are_ready(self) -> bool:
        return all(
            self.children.is_ready(name) or self.children.is_retired(name)
            for name in self.roster.names
        )

    def child_failed(self, name: str, reason: str, permanent: bool) -> None:
        """A process of a child cannot start."""
        if self._first_start.failed(name, reason, permanent) and not self.stopping:
            self.stopping = True  # set it now: other nodes may report before the reactor stops
            self._give_up(reason)

    def _child_ended(self, name: str, how: str) -> None:
        if name == SPARE:
            self._spare.ended()
            return
        self._heartbeat.ended(name)
        is_expected = self.stopping or self.children.is_retired(name)
        self._view.ended(name, how, is_expected)
        if name != BROKER and not self.stopping:
            slot = self.roster.slot_of(name)
            self._slots.vacated(slot)
            # A candidate that has registered has taken the place of the process that ended.
            link = self.registry.link(self.children.pid(name))
            if link is not None:
                self._heartbeat.joined(name, link)
                self._slots.reopen(slot)
            elif self.children.pid(name) is None and not is_expected:
                self._spare.take(name, slot)
        if not is_expected:
            self._code_changes.watch()
        self._restart.starts.ended(name)

    def _candidate_ended(self, name: str, how: str) -> None:
        self._restart.starts.ended(name, how)

    def _set_stop_times(self, drain_timeout: float, restart_spread: float) -> None:
        """Set when a process that was asked to stop is killed: a little after it exits itself."""
        self.children.killTime = math.ceil(drain_timeout + KILL_AFTER_DRAIN_S)
        self.children.hand_over_time = self.children.killTime + restart_spread

    def _ask_to_stop(self, pid: int, handing_over: bool) -> bool:
        return self.registry.ask_to_stop(pid, handing_over)

    # For operators (control_connection.child_link.Operator).

    def _activity(self) -> str:
        if self.stopping:
            return "stopping"
        return "restarting" if self._restart.is_running else ""

    def ask(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Answer an operator's question.

        Returns:
            A Deferred with a JSON value. It fails with OperationFailed.
        """
        return self._view.operations.ask(what, arguments)

    def restart(self) -> "Deferred[str]":
        """Replace all processes, one after the other, with new code and new settings.

        It starts nodes that were drained, and waits while a node drains or the number changes.

        Returns:
            A Deferred with a sentence for the operator. It fails with OperationFailed.
        """
        self._certificates.read_again()
        if self.config.spare:
            self._spare.renew()
        done = self._scaling.when_idle().addCallback(lambda _: self._restart.request())
        return done.addBoth(self._view.restarted)

    def hang_up(self) -> None:
        """SIGHUP was received: restart. The result is in the log."""
        self.log.info("SIGHUP: restarting the processes one after the other")
        self.restart().addErrback(lambda failure: failure.trap(OperationFailed))

    def _is_broker_current(self) -> Awaitable[bool]:
        link = self._heartbeat.link(BROKER)
        fingerprint = None if link is None else link.fingerprint
        arguments = broker_arguments(self.config)
        return broker_code.is_current(self._reactor, self.config.command, arguments, fingerprint)

    def use_log(self, log: ProcessLog) -> None:
        """Write the output of the children to this log. Call it before the start."""
        self.children.output_log = log
        self._view.keep_log(log.writer)

    def reopen_logs(self) -> None:
        """Have all children open their log files again, such as those of the site's LOGGING."""
        self.registry.signal_to_reopen_logs()

    # Stop.

    def stopService(self) -> "Deferred[None]":
        """Drain and stop the nodes, then the broker; fires when all processes have ended."""
        if self._stopped is None:
            super().stopService()
            self.stopping = True
            self.log.info("stopping")
            self._restart.stop()
            self._scaling.stop()
            self._code_changes.stop()
            self.control.stop()
            self._heartbeat.stop()
            self._view.status.stop()
            # The nodes close their descriptors when they start to drain; then the kernel refuses
            # connections.
            self._slots.close()
            self._admin_port.close()
            self._stopped = self.children.stopService().addCallback(self._clean_up)
        # Return a separate Deferred to each caller, because callbacks may change its result.
        waiting: Deferred[None] = Deferred()
        self._stopped.addBoth(lambda _: waiting.callback(None))
        return waiting

    def _clean_up(self, _: object) -> "Deferred[None]":
        closed = [self._admin_port.stop(), self.control.close()]
        return gatherResults(closed, consumeErrors=True).addBoth(lambda _: self.control.release())
