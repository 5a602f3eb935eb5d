"""publish from a process that is no node: a shell, a cron job, a task queue's process.

The process connects to the publish socket of any node of the user's cluster, keeps that connection,
and gets a receipt for each publication (core.wire_external has the messages). No
publication is lost silently: there is a receipt, or an error.

* Nodes come and go: when the one that was connected stops, the next publication goes to another.
* Threads share the connection, one publication at a time.
* A forked process makes a connection of its own.
"""

import os
import random
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable

from cluster.core.exceptions import ConfigurationError, NotPublished, NotRunning, WireError
from cluster.core.wire_external import (
    VERSION,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Receipt,
    Rejection,
    encode,
)
from cluster.net.runtime_directory import publish_sockets, running_clusters

CONNECT_TIMEOUT_S = 5.0
"""A node that is being replaced is back in two or three seconds."""

HOPELESS_S = 30.0
"""Who has waited in vain does not wait again for so long, but looks whether a node is there by now:
a command that saves thousands of users publishes as many revocations."""

CONNECT_PAUSE_S = 0.05

HELLO_TIMEOUT_S = 2.0
"""A node that does not say hello by then is stuck; another may not be."""

ANSWER_TIMEOUT_S = 10.0
"""A node reads no more while its queues are full, and answers when they have drained."""


class ExternalPublisher:
    """A process's connection to a cluster, made when it is first needed.

    ``find`` returns the running clusters: first port -> folder. ``port`` returns the first port of
    the one to use; None if there is only one that serves ``site()``.
    """

    def __init__(
        self,
        find: Callable[[], dict[int, str]],
        port: Callable[[], int | None] = lambda: None,
        site: Callable[[], str] = lambda: "",
    ) -> None:
        self._find = find
        self._port = port
        self._site = site
        self.forget()

    def forget(self) -> None:
        """Drop the connection; a forked process must call this."""
        self._lock = threading.Lock()  # the old one may be held by a thread that was not forked
        self._socket: socket.socket | None = None
        self._hopeless_until = 0.0

    def publish(self, publication: Publish) -> Receipt:
        """Send, and wait for the receipt.

        Raises NotRunning if there is no cluster of this site, ConfigurationError if there are
        several, NotPublished if it refuses or does not answer, ValueError if the message is too
        long.
        """
        data = encode(publication)
        with self._lock:
            while True:
                connected = self._connected()
                try:
                    answer = self._ask(connected, data)
                except BaseException:
                    # Whatever it was, an answer may be under way which nobody waits for any more.
                    self._disconnect()
                    raise
                if isinstance(answer, Receipt):
                    return answer
                self._disconnect()
                if isinstance(answer, Rejection):
                    raise NotPublished(f"the cluster refused a publication: {answer.reason}")

    def _ask(self, connected: socket.socket, data: bytes) -> Receipt | Rejection | None:
        """The answer to a publication; None if it did not go out, and another node may be asked."""
        try:
            connected.sendall(data)
        except TimeoutError:
            raise NotPublished(
                f"the node took no publication for {ANSWER_TIMEOUT_S:.0f} s"
            ) from None
        except OSError:
            return None
        try:
            answers = _receive(connected)
            if len(answers) > 1:  # what comes unasked is goodbye
                self._disconnect()
            for answer in answers:
                if isinstance(answer, Receipt | Rejection):
                    return answer
                if isinstance(answer, Closing):
                    return None
            reason = "the node went away before it answered"
        except TimeoutError:
            reason = f"the node did not answer within {ANSWER_TIMEOUT_S:.0f} s"
        except OSError as error:
            reason = f"the node went away before it answered ({error.strerror})"
        except WireError as error:
            reason = f"the node's answer makes no sense: {error}"
        raise NotPublished(f"{reason}; the publication may have gone out", uncertain=True)

    def _connected(self) -> socket.socket:
        """A connection that is good as far as one can know."""
        if self._socket is not None and _has_ended(self._socket):
            self._disconnect()
        if self._socket is None:
            self._socket = self._connect()
        return self._socket

    def _connect(self) -> socket.socket:
        deadline = time.monotonic()
        if deadline >= self._hopeless_until:
            deadline += CONNECT_TIMEOUT_S
        while True:
            # Each time anew: the cluster may have been stopped meanwhile, or another started.
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
                    f"several clusters of yours are running (ports {_and(ours)}):"
                    " say in C10K['CLUSTER_PORT'] which one to publish through"
                )
            for connected in ours.values():
                self._hopeless_until = 0.0
                return connected
            if None not in found.values():
                raise NotRunning(
                    f"the cluster on port {_and(found)} serves another site: its SECRET_KEY is"
                    " not the one of these settings"
                )
            if time.monotonic() >= deadline:
                if time.monotonic() >= self._hopeless_until:
                    self._hopeless_until = time.monotonic() + HOPELESS_S
                where = ", ".join(folders.values())
                raise NotRunning(f"no node answers in {where}: is the cluster ready?")
            time.sleep(CONNECT_PAUSE_S)

    def _folders(self) -> dict[int, str]:
        """Of the clusters that it may be; at least one."""
        running = self._find()
        port = self._port()
        if port is None and running:
            return running
        if port is not None and port in running:
            return {port: running[port]}
        which = "cluster of yours" if port is None else f"cluster of yours on port {port}"
        raise NotRunning(
            f"no {which} is running: start one with twistd c10k, or manage.py runserver"
        )

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connect_to_one(folder: str) -> tuple[socket.socket, Greeting] | None:
    """A connection to any node of a cluster, and what it said; None if none answers."""
    paths = publish_sockets(folder)
    random.shuffle(paths)  # so that processes spread over the nodes
    return next(filter(None, map(_connect_to, paths)), None)


def _connect_to(path: str) -> tuple[socket.socket, Greeting] | None:
    """A connection to a node that has said hello; None if there is none."""
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(HELLO_TIMEOUT_S)
        connected.connect(path)
        said = _receive(connected)
    except (OSError, WireError):
        said = []
    hello = said[0] if len(said) == 1 else None  # one that stops may say goodbye with it
    if not isinstance(hello, Greeting):
        connected.close()
        return None
    if hello.version != VERSION:
        connected.close()
        raise ConfigurationError(
            f"this process speaks version {VERSION} of the publish socket, the cluster version"
            f" {hello.version}: restart the one that has the older c10k"
        )
    connected.settimeout(ANSWER_TIMEOUT_S)
    return connected, hello


def _and(ports: Iterable[int]) -> str:
    return ", ".join(map(str, ports))


def _receive(connected: socket.socket) -> list[ExternalMessage]:
    """The next messages; none if the node hung up. Raises OSError and WireError."""
    messages = MessageDecoder()
    while received := connected.recv(4096):
        complete = messages.feed(received)
        if complete:
            return complete
    return []


def _has_ended(connected: socket.socket) -> bool:
    """Whether the node hung up, or has said something unasked, which can only be goodbye."""
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))


def _find() -> dict[int, str]:
    return running_clusters(os.environ, os.getuid())


def _port() -> int | None:
    from cluster.django import conf

    port: int | None = conf.load()["CLUSTER_PORT"]
    return port


from_tests = False
"""Tests reach no cluster that happens to run; those of a LiveClusterTestCase reach their own."""


def site_name(secret_key: str | None = None) -> str:
    """What tells this site from others of the same user; says nothing about its SECRET_KEY."""
    from django.utils.crypto import salted_hmac

    return salted_hmac("c10k.site", "", secret_key, algorithm="sha256").hexdigest()


def _is_tested() -> bool:
    """Whether Django's test runner is at work; what it sets up publicly, a mail backend may."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


_publisher = ExternalPublisher(_find, _port, site_name)
os.register_at_fork(after_in_child=_publisher.forget)


def publish_externally(topic: bytes, frame: bytes, depth: int, expire_s: float) -> Receipt:
    """Publish a frame through the user's running cluster; waits for the receipt.

    ``depth``: how many frames of the topic are kept, 0 for none; ``expire_s``: for how many
    seconds, 0 for until newer ones take their place. Raises what OutsidePublisher.publish does.
    Under Django's test runner it goes nowhere, unless ``from_tests`` is set.
    """
    if _is_tested() and not from_tests:
        return Receipt(0, 0)
    return _publisher.publish(Publish(topic, frame, depth, round(expire_s * 1000)))
