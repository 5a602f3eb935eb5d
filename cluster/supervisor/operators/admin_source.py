"""AdminSource: the supervisor's parts, as the admin port sees them (admin_port.Source)."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from cluster.net.accepting.socket_limits import descriptor_limit, open_descriptors
from cluster.supervisor.child_processes import Children
from cluster.supervisor.control_connection.child_link import ChildLink
from cluster.supervisor.heartbeat import Heartbeat, Statistics
from cluster.supervisor.operators.cluster_view import ClusterView
from cluster.supervisor.registration.control_socket import ControlSocket
from cluster.supervisor.registration.registry import Registry
from cluster.supervisor.registration.roster import Roster


class AdminSource:
    """What probes and scrapes see.

    Args:
        roster: The children.
        children: Their processes.
        heartbeat: Their control connections.
        registry: The processes that have registered.
        control: The control socket.
        activity: Returns "stopping", "restarting" or "".

    ``view`` is what people see; assign it before the start.
    """

    view: ClusterView

    def __init__(
        self,
        roster: Roster,
        children: Children,
        heartbeat: Heartbeat,
        registry: Registry,
        control: ControlSocket,
        activity: Callable[[], str],
    ) -> None:
        self._roster = roster
        self._children = children
        self._heartbeat = heartbeat
        self._registry = registry
        self._control = control
        self._activity = activity

    def survey(self) -> "Deferred[Statistics]":
        """The statistics of every child; None for one that does not run or answer in time."""
        return self._heartbeat.survey()

    def starts(self) -> Mapping[str, int]:
        """How often each child has been started."""
        return self._children.starts

    def own_statistics(self) -> Mapping[str, Any]:
        """The statistics of the supervisor itself."""
        log = self._children.output_log
        activity = self._activity()
        return {
            **({} if log is None else {"log_lines_dropped": log.dropped}),
            "draining": int(activity == "stopping"),
            "restarting": int(activity == "restarting"),
            "draining_processes": self._children.draining,
            "drained_nodes": sum(map(self._children.is_retired, self._roster.nodes)),
            "process_ends": self._children.ends,
            "events": self.view.status.events.counts,
            "descriptors": open_descriptors(),
            "descriptor_limit": descriptor_limit(),
        }

    def missing(self, statistics: Statistics) -> list[str]:
        """Why the cluster is not ready, one phrase for each reason; empty if it is ready.

        A node that an operator drains is not missing.
        """
        if self._activity() == "stopping":
            return ["stopping"]
        files = self._control.missing(self._registry.links, self._serves)
        wanted = {
            name: found for name, found in statistics.items() if not self._children.is_retired(name)
        }
        return [*self._heartbeat.missing(wanted), *files]

    def _serves(self, link: ChildLink) -> bool:
        """Whether this is a child's current process, and serves without draining."""
        return any(
            self._children.pid(name) == link.pid
            and self._children.is_ready(name)
            and not self._children.is_retired(name)
            for name in self._roster.names
        )

    def status_document(self) -> "Deferred[dict[str, Any]]":
        """The content of /status.json."""
        return self.view.status.document()
