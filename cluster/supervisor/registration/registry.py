"""Registry: what the supervisor does when a child registers, is ready, cannot start or leaves."""

import os
import signal
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from cluster.core.exceptions import ConfigurationError
from cluster.supervisor.certificates import Certificates
from cluster.supervisor.child_processes import SPARE, Children
from cluster.supervisor.config import SupervisorConfig
from cluster.supervisor.control_connection.child_link import ChildLink
from cluster.supervisor.control_connection.commands import BROKER_SLOT, RegistrationRefused
from cluster.supervisor.heartbeat import Heartbeat
from cluster.supervisor.listening_slots import ListeningSlots
from cluster.supervisor.registration.control_socket import ControlSocket
from cluster.supervisor.registration.roster import Roster
from cluster.supervisor.restarting.rolling_restart import RollingRestart
from cluster.supervisor.restarting.spare import Spare


class Owner(Protocol):
    """The methods of the supervisor that the registry calls."""

    control: ControlSocket
    stopping: bool

    def child_ready(self, name: str, link: ChildLink) -> None:
        """The current process of a child serves."""

    def child_failed(self, name: str, reason: str, permanent: bool) -> None:
        """A process of a child cannot start; ``permanent``: a restart does not help."""


class Registry:
    """Receives the messages of the children (child_link.ChildRegistry).

    Args:
        owner: The supervisor.
        config: The configuration of the cluster.
        roster: The children.
        children: Their processes.
        slots: The listening sockets of the nodes.
        heartbeat: Watches the children.
        restart: Replaces them.
        spare: The spare process.
        certificates: The TLS certificates of the addresses.
    """

    log = Logger()

    def __init__(
        self,
        owner: Owner,
        config: SupervisorConfig,
        roster: Roster,
        children: Children,
        slots: ListeningSlots,
        heartbeat: Heartbeat,
        restart: RollingRestart,
        spare: Spare,
        certificates: Certificates,
    ) -> None:
        self._owner = owner
        self._config = config
        self._roster = roster
        self._children = children
        self._slots = slots
        self._heartbeat = heartbeat
        self._restart = restart
        self._spare = spare
        self._certificates = certificates
        self._links: dict[int, ChildLink] = {}

    @property
    def links(self) -> Collection[ChildLink]:
        """The connections of the processes that have registered."""
        return self._links.values()

    def link(self, pid: int | None) -> ChildLink | None:
        """The connection of a process; None if it has not registered."""
        return None if pid is None else self._links.get(pid)

    def ask_to_stop(self, pid: int, handing_over: bool) -> bool:
        """Ask a process to drain and end. Returns False if it has not registered."""
        link = self._links.get(pid)
        if link is None:
            return False
        link.stop(handing_over)
        return True

    def signal_to_reopen_logs(self) -> None:
        """Send SIGUSR1 to all processes; one that has not registered has no handler for it."""
        for pid in self._links:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    # Messages of the children.

    def registered(self, link: ChildLink, slot: int, pid: int) -> dict[str, Any]:
        """Return the configuration of a child that registers. Raises RegistrationRefused."""
        name = self._roster.name_of(slot)
        if self._owner.stopping:
            raise RegistrationRefused("the cluster is stopping")
        is_candidate = self._children.candidate_pid(name) == pid
        if self._children.pid(name) != pid and not is_candidate:
            self.log.warn("process {pid} is not {name}: refused", pid=pid, name=name)
            raise RegistrationRefused(f"process {pid} is not {name} of this cluster")
        if slot == BROKER_SLOT:
            config = self._broker_config()
        else:
            try:
                if not (is_candidate and self._slots.is_open(slot)):
                    self._slots.reopen(slot)
            except ConfigurationError as error:
                self.log.error("{name}: {error}", name=name, error=error)
                raise RegistrationRefused(str(error)) from None
            config = self._node_config(name, slot, pid)
        self._links[pid] = link
        if not is_candidate:
            self._heartbeat.joined(name, link)
        return config

    def _broker_config(self) -> dict[str, Any]:
        runtime = self._owner.control.runtime
        uplink = self._config.uplink
        return {
            "address": runtime.broker,
            "history": runtime.history,
            "drain_timeout": self._config.drain_timeout,
            **({} if uplink is None else {"uplink": asdict(uplink)}),
        }

    def _node_config(self, name: str, slot: int, pid: int) -> dict[str, Any]:
        runtime, uplink = self._owner.control.runtime, self._config.uplink
        return {
            **self._config.node,
            "name": name,
            "bus": runtime.broker if self._roster.broker else self._config.bus,
            **({} if uplink is None else {"machine": uplink.machine}),
            "publish_socket": runtime.publish_socket(slot, pid),
            "handover_folder": runtime.path,
        }

    def standby(self, link: ChildLink, pid: int) -> "Deferred[int]":
        """The spare process has loaded the site; fires with the slot that it shall take."""
        if self._owner.stopping or self._children.pid(SPARE) != pid:
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
        name = self._roster.name_of(link.slot)
        if self._children.candidate_pid(name) == link.pid:
            self._restart.starts.became_ready(name, link.pid)  # promotes it
            if self._children.pid(name) == link.pid:
                self._heartbeat.joined(name, link)
        if self._children.pid(name) != link.pid:
            return  # the reactor reported the end of this process earlier
        self._children.became_ready(name)
        self._heartbeat.became_ready(name)
        if link.slot != BROKER_SLOT:
            self._slots.served(link.slot)
        self._owner.child_ready(name, link)
        self._restart.starts.became_ready(name, link.pid)

    def start_failed(self, link: ChildLink, reason: str, permanent: bool) -> None:
        """The child cannot start."""
        name = self._roster.name_of(link.slot)
        self._restart.starts.start_failed(name, link.pid, reason)
        self._owner.child_failed(name, reason, permanent)

    def left(self, link: ChildLink) -> None:
        """The connection of a child is gone, also that of a spare process without a slot."""
        is_known = self._links.get(link.pid) is link
        if is_known:
            del self._links[link.pid]
        if link.slot is None:
            return
        if is_known:
            self._owner.control.remove_publish_socket(link.slot, link.pid)
        # The slot may have been removed.
        if link.slot == BROKER_SLOT or link.slot < len(self._roster.nodes):
            self._heartbeat.left(self._roster.name_of(link.slot), link)
