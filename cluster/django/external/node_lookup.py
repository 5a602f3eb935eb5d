"""Finding a node of the site's running cluster, from a process outside of it.

Each cluster of a user has a folder with the publish sockets of its nodes (net.running_clusters). A
node tells in its Greeting which site it serves.
"""

import os
import random
import socket
import time
from collections.abc import Callable, Iterable

from cluster.core.exceptions import ConfigurationError, NotRunning, WireError
from cluster.core.wire.external_publisher import VERSION, ExternalMessage, Greeting, MessageDecoder
from cluster.net.running_clusters import running_clusters
from cluster.net.runtime_directory import publish_sockets

CONNECT_TIMEOUT_S = 5.0
"""A node that is being replaced is back in two or three seconds."""

HOPELESS_S = 30.0
"""After it has waited without success, a process does not wait again for so long, but only looks
whether a node answers: a command that saves thousands of users publishes as many revocations."""

CONNECT_PAUSE_S = 0.05

GREETING_TIMEOUT_S = 2.0
"""A node that does not send its Greeting by then is blocked; another may not be."""


class NodeLookup:
    """Connects to any node of the right cluster.

    Args:
        find: Returns the running clusters: first port -> folder.
        port: Returns the first port of the one to use; None if there is only one of ``site()``.
        site: Returns the name of the site whose cluster it must be.
    """

    def __init__(
        self,
        find: Callable[[], dict[int, str]],
        port: Callable[[], int | None],
        site: Callable[[], str],
    ) -> None:
        self._find = find
        self._port = port
        self._site = site
        self._hopeless_until = 0.0

    def connect(self) -> socket.socket:
        """A connection to a node that has sent its Greeting.

        Raises NotRunning if there is no cluster of this site or no node of it answers, and
        ConfigurationError if there are several, or one of another version.
        """
        deadline = time.monotonic()
        if deadline >= self._hopeless_until:
            deadline += CONNECT_TIMEOUT_S
        while True:
            # Looked up each time: the cluster may have stopped meanwhile, or another have started.
            folders = self._folders()
            found = {port: _connect_to_one(folder) for port, folder in folders.items()}
            ours = {
                port: answer[0]
                for port, answer in found.items()
                if answer is not None and answer[1].site == self._site()
            }
            for port, answer in found.items():
                if answer is not None and (port not in ours or len(ours) > 1):
                    answer[0].close()
            if len(ours) > 1:
                raise ConfigurationError(
                    f"several clusters of this project are running (ports {_and(ours)}):"
                    " C10K['CLUSTER_PORT'] says which one to publish through"
                )
            for connected in ours.values():
                self._hopeless_until = 0.0
                return connected
            if None not in found.values():
                ports = f"port{'s' if len(found) > 1 else ''} {_and(found)}"
                raise NotRunning(
                    f"{_not_running(None)} (what runs on {ports} belongs to another project, or was"
                    " started with another SECRET_KEY)"
                )
            if time.monotonic() >= deadline:
                if time.monotonic() >= self._hopeless_until:
                    self._hopeless_until = time.monotonic() + HOPELESS_S
                where = ", ".join(folders.values())
                raise NotRunning(f"a cluster is starting or has died: no node answers in {where}")
            time.sleep(CONNECT_PAUSE_S)

    def _folders(self) -> dict[int, str]:
        """The folders of the clusters that it may be; at least one."""
        running = self._find()
        port = self._port()
        if port is None and running:
            return running
        if port is not None and port in running:
            return {port: running[port]}
        raise NotRunning(_not_running(port))


def _connect_to_one(folder: str) -> tuple[socket.socket, Greeting] | None:
    """A connection to any node of a cluster, and its Greeting; None if no node answers."""
    paths = publish_sockets(folder)
    random.shuffle(paths)  # so that processes spread over the nodes
    return next(filter(None, map(_connect_to, paths)), None)


def _connect_to(path: str) -> tuple[socket.socket, Greeting] | None:
    """A connection to a node that has sent its Greeting; None if there is none."""
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(GREETING_TIMEOUT_S)
        connected.connect(path)
        received = _first_messages(connected)
    except (OSError, WireError):
        received = []
    greeting = received[0] if len(received) == 1 else None  # Closing may follow
    if not isinstance(greeting, Greeting):
        connected.close()
        return None
    if greeting.version != VERSION:
        connected.close()
        raise ConfigurationError(
            f"this process uses version {VERSION} of the publish socket, the cluster version"
            f" {greeting.version}: restart the one that has the older c10k"
        )
    return connected, greeting


def _first_messages(connected: socket.socket) -> list[ExternalMessage]:
    decoder = MessageDecoder()
    while received := connected.recv(4096):
        complete = decoder.feed(received)
        if complete:
            return complete
    return []


def _and(ports: Iterable[int]) -> str:
    return ", ".join(map(str, ports))


def _not_running(port: int | None) -> str:
    where = "" if port is None else f" on port {port}"
    return (
        f"no cluster of this project is running{where}: start one with twistd c10k or manage.py"
        " runserver, or name the Redis of a cluster on other machines in C10K['BUS']"
    )


def find_clusters() -> dict[int, str]:
    """The running clusters of this user: first port -> folder."""
    return running_clusters(os.environ, os.getuid())


def chosen_port() -> int | None:
    """The first port of the cluster that the settings choose."""
    from cluster.django import conf

    port: int | None = conf.load()["CLUSTER_PORT"]
    return port


def site_name(secret_key: str | None = None) -> str:
    """The name by which a cluster tells its site from others of the same user.

    It is derived from SECRET_KEY and reveals nothing about it.
    """
    from django.utils.crypto import salted_hmac

    return salted_hmac("c10k.site", "", secret_key, algorithm="sha256").hexdigest()
