"""The supervisor: keeps a broker and its nodes alive, and holds the listening sockets for them.

It does not process the messages of clients. It

* starts the children, and restarts them when they end, after a delay that grows each time one ends
  before it was ready (``cluster.supervisor.child_processes``);
* holds the listening sockets of each node's slot, and closes those of a slot that stays without a
  serving process (``cluster.supervisor.listening_slots``);
* sends each child that registers its configuration and its slot's sockets
  (``cluster.supervisor.control_connection``);
* replaces a child that is stopped, or whose event loop is blocked for too long
  (``cluster.supervisor.heartbeat``);
* answers operators (``cluster.supervisor.admin_port``);
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
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import Logger

from cluster.core.exceptions import ConfigurationError, OperationFailed
from cluster.logs.process_log import ProcessLog
from cluster.net import listening_sockets
from cluster.net.accepting.socket_limits import descriptor_limit, open_descriptors
from cluster.net.addresses import first_port
from cluster.net.runtime_directory import RuntimeDirectory
from cluster.net.runtime_watch import RuntimeWatch, SocketFileWatch, stop_listening
from cluster.supervisor.admin_port import make_site
from cluster.supervisor.certificates import Certificates
from cluster.supervisor.child_command import child_environment, command_output
from cluster.supervisor.child_output import LOG_DESCRIPTOR
from cluster.supervisor.child_processes import SPARE, Children
from cluster.supervisor.config import SupervisorConfig
from cluster.supervisor.control_connection import (
    BROKER_SLOT,
    ChildLink,
    ControlFactory,
    RegistrationRefused,
)
from cluster.supervisor.heartbeat import Heartbeat, Statistics
from cluster.supervisor.listening_slots import ListeningSlots
from cluster.supervisor.operators.cluster_view import ClusterView
from cluster.supervisor.restarting.code_changes import CodeChanges
from cluster.supervisor.restarting.rolling_restart import RollingRestart
from cluster.supervisor.restarting.spare import Spare

BROKER = "broker"

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
        self._has_served = False
        self._failure_reason = ""
        self.stopping = False
        self._reactor = reactor
        self._nodes = [f"node{number}" for number in range(config.nodes)]
        self._own_broker = config.bus is None
        self.names = [BROKER, *self._nodes] if self._own_broker else self._nodes
        self._certificates = Certificates(config.listens)
        self._slots = ListeningSlots(self._nodes, config.listens, reactor)
        self._admin_socket: socket.socket | None = None
        self._ports: list[Any] = []
        self._runtime: RuntimeDirectory | None = None
        self._control_port: Any = None
        self._watches: tuple[RuntimeWatch, SocketFileWatch] | tuple[()] = ()
        self._announced = False
        self._stopped: Deferred[None] | None = None
        self._links: dict[int, ChildLink] = {}
        self.children = Children(
            reactor, self._child_ended, self._candidate_ended, self._ask_to_stop, BROKER
        )
        self._set_stop_times(config.drain_timeout, config.restart_spread)
        self._heartbeat = Heartbeat(self.names, self.children, reactor, config.blocked_loop_timeout)
        self.children.heard = self._heartbeat.heard
        self._restart = RollingRestart(
            lambda: self._nodes,
            BROKER if self._own_broker else "",
            self._is_broker_current,
            self.children,
            reactor,
        )
        self._spare = Spare(self.children)
        self._code_changes = CodeChanges(
            config.site_folder,
            [path for path in sys.path if os.path.isdir(path)],
            lambda: all(map(self.children.is_ready, self.names)),
            self.children.waiting,
            self.children.start_now,
            reactor,
        )
        self._view = ClusterView(
            self.names,
            BROKER if self._own_broker else "",
            self.children,
            self._heartbeat,
            config,
            reactor,
            self.missing,
            self._activity,
        )

    # Start.

    def privilegedStartService(self) -> None:
        """Read the certificates and open all listening sockets, before twistd gives up root
        privileges."""
        self._certificates.read()
        self._slots.open()
        try:
            self._admin_socket = listening_sockets.claim(self.config.admin)
        except ConfigurationError:
            self._slots.close()
            raise

    def startService(self) -> None:
        if not self._slots.listens:
            self.privilegedStartService()
        super().startService()
        limit = listening_sockets.raise_descriptor_limit()
        self._capacity = listening_sockets.connection_capacity(self.config.nodes, limit)
        self._view.capacity = self._capacity
        self._view.urls = [address.url for address in self._slots.listens]
        self.log.info(
            "starting {nodes}, {settings}: up to {capacity:,} connections"
            " (descriptor limit of a node: {limit:,})",
            nodes=self._count_nodes(),
            settings=self.config.node["settings"],
            capacity=self._capacity,
            limit=limit,
        )
        assert self._admin_socket is not None
        port = first_port(self._slots.listens) or self._admin_socket.getsockname()[1]
        self._runtime = RuntimeDirectory.claim(port, os.environ, os.getuid())
        self._listen_control()
        self._watches = (
            RuntimeWatch(self._runtime, self._reactor),
            SocketFileWatch(self._runtime.control, self._listen_control_again, self._reactor),
        )
        self._listen_admin()
        for name in self.names:
            self.children.addProcess(
                name,
                [*self.config.command, *self._arguments(name)],
                env=self._environment(),
            )
        # Start children only now: the reactor needs its signal handlers to notice that a process
        # ends.
        self._reactor.callWhenRunning(self._start_children)

    def _listen_control(self) -> None:
        assert self._runtime is not None
        self._control_port = self._reactor.listenUNIX(
            self._runtime.control, ControlFactory(self), mode=0o600
        )

    def _listen_control_again(self) -> "Deferred[object]":
        return stop_listening(self._control_port).addCallback(lambda _: self._listen_control())

    def _environment(self) -> dict[str, str]:
        return child_environment(os.environ, sys.path)

    def _start_children(self) -> None:
        if self.stopping:
            return
        self.children.startService()
        for watch in self._watches:
            watch.start()
        self._heartbeat.start()
        self._view.status.start()

    def _arguments(self, name: str) -> list[str]:
        assert self._runtime is not None
        common = ["--control", self._runtime.control, "--log-format", self.config.log_format]
        common += ["--log-descriptor", str(LOG_DESCRIPTOR)]
        if name == BROKER:
            return ["broker", *common]
        if name == SPARE:
            return ["node", *common, "--spare", self.config.node["settings"]]
        return ["node", *common, "--slot", str(self._nodes.index(name))]

    def _listen_admin(self) -> None:
        assert self._admin_socket is not None
        self._admin = self.config.admin.at_port(self._admin_socket.getsockname()[1])
        self._ports.append(
            self._reactor.adoptStreamPort(
                self._admin_socket.fileno(), self._admin.family, make_site(self)
            )
        )
        self._admin_socket.close()  # the port has duplicated the descriptor
        self._admin_socket = None

    # For the children (control_connection.ChildRegistry).

    def registered(self, link: ChildLink, slot: int, pid: int) -> dict[str, Any]:
        """Return the configuration of a child that registers. Raises RegistrationRefused."""
        name = self._name(slot)
        if self.stopping:
            raise RegistrationRefused("the cluster is stopping")
        is_candidate = self.children.candidate_pid(name) == pid
        if self.children.pid(name) != pid and not is_candidate:
            self.log.warn("process {pid} is not {name}: refused", pid=pid, name=name)
            raise RegistrationRefused(f"process {pid} is not {name} of this cluster")
        assert self._runtime is not None
        if slot == BROKER_SLOT:
            config = {
                "address": self._runtime.broker,
                "history": self._runtime.history,
                "drain_timeout": self.config.drain_timeout,
            }
        else:
            try:
                if not (is_candidate and self._slots.is_open(slot)):
                    self._slots.reopen(slot)
            except ConfigurationError as error:
                self.log.error("{name}: {error}", name=name, error=error)
                raise RegistrationRefused(str(error)) from None
            bus = self._runtime.broker if self._own_broker else self.config.bus
            publish_socket = self._runtime.publish_socket(slot, pid)
            config = {
                **self.config.node, "name": name, "bus": bus, "publish_socket": publish_socket
            }  # fmt: skip
        self._links[pid] = link
        if not is_candidate:
            self._heartbeat.joined(name, link)
        return config

    def standby(self, link: ChildLink, pid: int) -> "Deferred[int]":
        """The spare process has loaded the site; fires with the slot that it shall take."""
        if self.stopping or self.children.pid(SPARE) != pid:
            raise RegistrationRefused(f"process {pid} is not the spare process of this cluster")
        self._links[pid] = link
        self.log.info("{name} ready (process {pid})", name=SPARE, pid=pid)
        return self._spare.standby()

    def listening_sockets(self, slot: int) -> list[tuple[int, int, str]]:
        """The listening sockets for a child: (descriptor, family, endpoint)."""
        return [] if slot == BROKER_SLOT else self._slots.sockets_of(slot)

    def certificate(self, endpoint: str) -> str:
        """The TLS key and certificates of an address; empty if it has none."""
        return self._certificates.of(endpoint)

    def became_ready(self, link: ChildLink) -> None:
        """The child serves."""
        assert link.slot is not None
        name = self._name(link.slot)
        if self.children.candidate_pid(name) == link.pid:
            self._restart.became_ready(name, link.pid)  # promotes it
            if self.children.pid(name) == link.pid:
                self._heartbeat.joined(name, link)
        if self.children.pid(name) != link.pid:
            return  # the reactor reported the end of this process earlier
        self.children.became_ready(name)
        if link.drain_timeout is not None and link.restart_spread is not None:
            self._set_stop_times(link.drain_timeout, link.restart_spread)
        self._heartbeat.became_ready(name)
        if name != BROKER:
            self._has_served = True
            self._failure_reason = ""
            self._slots.served(link.slot)
        self._view.became_ready(name)
        self.log.info("{name} ready (process {pid})", name=name, pid=link.pid)
        self._restart.became_ready(name, link.pid)
        if not self._announced and all(map(self.children.is_ready, self.names)):
            self._announced = True
            self.log.info(
                "c10k ready: {urls} ({nodes}, {settings}, up to {capacity:,} connections),"
                " admin {admin}",
                urls=", ".join(address.url for address in self._slots.listens),
                nodes=self._count_nodes(),
                settings=self.config.node["settings"],
                capacity=self._capacity,
                admin=self._admin.url,
            )

            if self.config.spare:
                self.children.addProcess(
                    SPARE,
                    [*self.config.command, *self._arguments(SPARE)],
                    env=self._environment(),
                )

    def start_failed(self, link: ChildLink, reason: str, permanent: bool) -> None:
        """The child cannot start. Stop the cluster if this is permanent and no node ever
        started."""
        assert link.slot is not None
        name = self._name(link.slot)
        self._restart.start_failed(name, link.pid, reason)
        # All nodes run the same site, so each start fails for the same reason: log it once.
        if reason != self._failure_reason:
            self._failure_reason = reason
            self.log.critical(
                "cannot start: {reason}", reason=reason, log_system=f"{name}#critical"
            )
        if permanent and not self._has_served and not self.stopping:
            self.stopping = True  # set it now: other nodes may report before the reactor stops
            self._give_up(reason)

    def left(self, link: ChildLink) -> None:
        """The connection of a registered child is gone."""
        assert link.slot is not None
        if self._links.get(link.pid) is link:
            del self._links[link.pid]
            self._remove_publish_socket(link.slot, link.pid)
        self._heartbeat.left(self._name(link.slot), link)

    def _remove_publish_socket(self, slot: int, pid: int) -> None:
        """Remove what a process that was killed has left."""
        if self._runtime is not None and slot != BROKER_SLOT:
            with suppress(OSError):
                os.unlink(self._runtime.publish_socket(slot, pid))

    def _name(self, slot: int) -> str:
        if slot == BROKER_SLOT and self._own_broker:
            return BROKER
        if 0 <= slot < len(self._nodes):
            return self._nodes[slot]
        raise RegistrationRefused(f"there is no slot {slot}")

    def _child_ended(self, name: str, how: str) -> None:
        if name == SPARE:
            self._spare.ended()
            return
        self._heartbeat.ended(name)
        self._view.ended(name, how, is_expected=self.stopping)
        if name != BROKER and not self.stopping:
            slot = self._nodes.index(name)
            self._slots.vacated(slot)
            # A candidate that has registered has taken the place of the process that ended.
            link = self._links.get(self.children.pid(name) or 0)
            if link is not None:
                self._heartbeat.joined(name, link)
                self._slots.reopen(slot)
            elif self.children.pid(name) is None:
                self._spare.take(name, slot)
        if not self.stopping:
            self._code_changes.watch()
        self._restart.ended(name)

    def _candidate_ended(self, name: str, how: str) -> None:
        self._restart.ended(name, how)

    def _set_stop_times(self, drain_timeout: float, restart_spread: float) -> None:
        """Set when a process that was asked to stop is killed: a little after it exits itself."""
        self.children.killTime = math.ceil(drain_timeout + KILL_AFTER_DRAIN_S)
        self.children.hand_over_time = self.children.killTime + restart_spread

    # For operators (admin_port.Source).

    def survey(self) -> "Deferred[Statistics]":
        """The statistics of every child; None for one that does not run or answer in time."""
        return self._heartbeat.survey()

    def starts(self) -> Mapping[str, int]:
        """How often each child has been started."""
        return self.children.starts

    def own_statistics(self) -> Mapping[str, Any]:
        """The statistics of the supervisor itself."""
        log = self.children.output_log
        return {
            **({} if log is None else {"log_lines_dropped": log.dropped}),
            "draining": int(self.stopping),
            "restarting": int(self._restart.is_running),
            "draining_processes": self.children.draining,
            "process_ends": self.children.ends,
            "events": self._view.status.events.counts,
            "descriptors": open_descriptors(),
            "descriptor_limit": descriptor_limit(),
        }

    def missing(self, statistics: Statistics) -> list[str]:
        """Why the cluster is not ready, one phrase for each reason; empty if it is ready."""
        if self.stopping:
            return ["stopping"]
        return [*self._heartbeat.missing(statistics), *self._missing_files()]

    def _missing_files(self) -> list[str]:
        """What was deleted from the runtime folder, as phrases: nobody can connect there."""
        if self._runtime is None or not self._watches:
            return []
        problem = self._watches[0].problem
        if problem:
            return [problem]
        paths = [self._runtime.control]
        for pid, link in self._links.items():
            if link.slot == BROKER_SLOT:
                paths.append(self._runtime.broker.removeprefix("ipc://"))
            elif link.slot is not None and self.children.is_ready(self._name(link.slot)):
                paths.append(self._runtime.publish_socket(link.slot, pid))
        return [f"{path} is gone" for path in paths if not os.path.lexists(path)]

    def _activity(self) -> str:
        if self.stopping:
            return "stopping"
        return "restarting" if self._restart.is_running else ""

    def status_document(self) -> "Deferred[dict[str, Any]]":
        """The content of /status.json."""
        return self._view.status.document()

    def ask(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Answer an operator's question.

        Returns:
            A Deferred with a JSON value. It fails with OperationFailed.
        """
        return self._view.operations.ask(what, arguments)

    def restart(self) -> "Deferred[str]":
        """Replace all processes, one after the other, with new code and new settings.

        Returns:
            A Deferred with a sentence for the operator. It fails with OperationFailed.
        """
        self._certificates.read_again()
        if self.config.spare:
            self._spare.renew()
        return self._restart.request()

    def hang_up(self) -> None:
        """SIGHUP was received: restart. The result is in the log."""
        self.log.info("SIGHUP: restarting the processes one after the other")
        self.restart().addErrback(lambda failure: failure.trap(OperationFailed))

    async def _is_broker_current(self) -> bool:
        link = self._heartbeat.link(BROKER)
        if link is None or link.fingerprint is None:
            return False
        command = [*self.config.command, "broker", "--fingerprint"]
        status, text = await command_output(self._reactor, command, self._environment())
        if status != 0:
            raise OperationFailed(f"the broker's code cannot be loaded: {text}")
        return text == link.fingerprint

    def use_log(self, log: ProcessLog) -> None:
        """Write the output of the children to this log. Call it before the start."""
        self.children.output_log = log
        self._view.keep_log(log.writer)

    def reopen_logs(self) -> None:
        """Have all children open their log files again, such as those of the site's LOGGING."""
        for pid in self._links:  # a process that has not registered has no handler for the signal
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    # Stop.

    def stopService(self) -> "Deferred[None]":
        """Drain and stop the nodes, then the broker; fires when all processes have ended."""
        if self._stopped is None:
            super().stopService()
            self.stopping = True
            self.log.info("stopping")
            self._restart.stop()
            self._code_changes.stop()
            for watch in self._watches:
                watch.stop()
            self._heartbeat.stop()
            self._view.status.stop()
            # The nodes close their descriptors when they start to drain; then the kernel refuses
            # connections.
            self._slots.close()
            if self._admin_socket is not None:
                self._admin_socket.close()
            self._stopped = self.children.stopService().addCallback(self._clean_up)
        # Return a separate Deferred to each caller, because callbacks may change its result.
        waiting: Deferred[None] = Deferred()
        self._stopped.addBoth(lambda _: waiting.callback(None))
        return waiting

    def _clean_up(self, _: object) -> "Deferred[None]":
        closed = [maybeDeferred(port.stopListening) for port in self._ports]
        self._ports = []
        if self._control_port is not None:
            closed.append(stop_listening(self._control_port))

        def release(_: object) -> None:
            if self._runtime is not None:
                self._runtime.release()

        return gatherResults(closed, consumeErrors=True).addBoth(release)

    def _ask_to_stop(self, pid: int, handing_over: bool) -> bool:
        link = self._links.get(pid)
        if link is None:
            return False
        link.stop(handing_over)
        return True

    def _count_nodes(self) -> str:
        return "1 node" if self.config.nodes == 1 else f"{self.config.nodes} nodes"
