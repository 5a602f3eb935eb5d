"""Launcher: the command lines of the children."""

import os
import sys

from cluster.supervisor.child_command import child_environment
from cluster.supervisor.child_output import LOG_DESCRIPTOR
from cluster.supervisor.child_processes import SPARE, Children
from cluster.supervisor.config import SupervisorConfig
from cluster.supervisor.registration.control_socket import ControlSocket
from cluster.supervisor.registration.roster import BROKER, Roster


def broker_arguments(config: SupervisorConfig) -> list[str]:
    """What the command line of a broker has that depends on the configuration. The URL of the
    engine is not part of it, because all users of the machine can see it."""
    return [] if config.uplink is None else ["--uplink"]


class Launcher:
    """Call ``add`` when the control socket listens.

    Args:
        config: The configuration of the cluster.
        roster: The children.
        children: Their processes.
        control: The socket that they connect to.
    """

    def __init__(
        self, config: SupervisorConfig, roster: Roster, children: Children, control: ControlSocket
    ) -> None:
        self._config = config
        self._roster = roster
        self._children = children
        self._control = control

    def add(self, name: str) -> None:
        """Add a child; its process starts at once if the others have been started."""
        command = [*self._config.command, *self._arguments(name)]
        self._children.addProcess(name, command, env=child_environment(os.environ, sys.path))

    def _arguments(self, name: str) -> list[str]:
        config = self._config
        common = ["--control", self._control.runtime.control, "--log-format", config.log_format]
        common += ["--log-descriptor", str(LOG_DESCRIPTOR)]
        if name == BROKER:
            return ["broker", *common, *broker_arguments(config)]
        if name == SPARE:
            return ["node", *common, "--spare", config.node["settings"]]
        return ["node", *common, "--slot", str(self._roster.slot_of(name))]
