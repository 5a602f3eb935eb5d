"""The supervisor: keeps a broker and its nodes alive, and holds the listening sockets for them.

It sees no message of any client. What it does:

* opens one listening socket per node slot and address (``cluster.net.sockets``);
* starts the children, starts them again when they end, waiting longer each time one ends before it
  was ready (``cluster.children``);
* gives each child that registers its configuration and its slot's sockets (``cluster.control``);
* asks each child for its figures every second, and replaces one that does not answer;
* closes the sockets of a slot that stays without a serving process, so that the kernel gives its
  share of new connections to the others, and opens them again for the next process;
* stops the nodes first, which drain, and then the broker.

Importing this module imports the default reactor, because twisted.runner.procmon does; so the taps
import it only when asked to make the service.
"""

import math
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.admin import make_site
from cluster.children import Children, child_command, child_environment
from cluster.control import BROKER_SLOT, ChildLink, ControlFactory, Refused
from cluster.core.exceptions import ConfigurationError
from cluster.core.liveness import Liveness
from cluster.net import sockets
from cluster.net.sockets import Address
from cluster.runtime_dir import RuntimeDir

BROKER = "broker"

HEARTBEAT_S = 1.0
SILENCE_S = 10.0
"""A serving child that answers nothing for so long is stopped or its loop is blocked; its clients
have waited long enough. Longer than any handler or garbage collection may reasonably block."""

START_SILENCE_S = 60.0
"""The same for a child that is not ready yet: loading a big Django site blocks its loop."""

SLOT_GRACE_S = 5.0
"""A slot's queue of new connections waits so long for a replacement (a second or two is usual)."""

ANSWER_S = 1.0
"""A scrape waits so long for a child's figures."""

KILL_AFTER_DRAIN_S = 4.0
"""After the drain timeout a child exits by itself within 2 s; then SIGKILL."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What the operator asked for."""

    nodes: int
    listens: Sequence[Address]
    admin: Address
    bus: str | None
    """"local", the endpoint of an external broker, or None for a broker of our own."""
    node: dict[str, Any]
    """The fields of a NodeConfig, without name and bus."""
    drain_timeout: float
    command: Sequence[str] = field(default_factory=child_command)


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one node: its sockets outlive its processes."""

    name: str
    sockets: list[socket.socket] = field(default_factory=list)
    closing: Any = None
    """The delayed call that will close the sockets, while no process serves."""
    reopened: bool = False
    """Opened again for a process that has not been ready yet."""


class Supervisor(Service):
    """A whole cluster. ConfigurationError from the start methods is meant for the operator."""

    log = Logger()

    def __init__(self, config: ClusterConfig, reactor: Any) -> None:
        self.config = config
        self.stopping = False
        self._reactor = reactor
        self._slots = [Slot(f"node{number}") for number in range(config.nodes)]
        self._own_broker = config.bus is None
        self.names = ([BROKER] if self._own_broker else []) + [slot.name for slot in self._slots]
        self._links: dict[str, ChildLink] = {}
        self._asked: set[ChildLink] = set()
        self._starting = Liveness(START_SILENCE_S)
        self._serving = Liveness(SILENCE_S)
        self._listens: list[Address] = []
        self._admin_socket: socket.socket | None = None
        self._ports: list[Any] = []
        self._runtime: RuntimeDir | None = None
        self._announced = False
        self._stopped: Deferred[None] | None = None
        self._heartbeat = LoopingCall(self._beat)
        self._heartbeat.clock = reactor
        self.children = Children(reactor, self._child_ended, self._ask_to_stop, BROKER)
        self.children.killTime = math.ceil(config.drain_timeout + KILL_AFTER_DRAIN_S)

    # Start.

    def privilegedStartService(self) -> None:
        """Open all listening sockets, while there may still be the rights for it."""
        opened = sockets.open_slots(self.config.listens, self.config.nodes)
        self._listens = opened[0]
        for slot, its_sockets in zip(self._slots, opened[1], strict=True):
            slot.sockets = its_sockets
        try:
            self._admin_socket = sockets.claim(self.config.admin)
        except ConfigurationError:
            self._close_slots()
            raise

    def startService(self) -> None:
        if not self._listens:
            self.privilegedStartService()
        super().startService()
        limit = sockets.raise_descriptor_limit()
        self._capacity = sockets.connection_capacity(self.config.nodes, limit)
        self.log.info(
            "up to {capacity:,} connections (descriptor limit {limit:,} for each of {nodes})",
            capacity=self._capacity,
            limit=limit,
            nodes=_count(self.config.nodes, "node"),
        )
        self._runtime = RuntimeDir.claim(self._listens[0].port, os.environ, os.getuid())
        self._ports.append(
            self._reactor.listenUNIX(self._runtime.control, ControlFactory(self), mode=0o600)
        )
        self._listen_admin()
        for name in self.names:
            self.children.addProcess(
                name,
                [*self.config.command, *self._arguments(name)],
                env=child_environment(os.environ, sys.path),
            )
        # Not before: the end of a process is noticed only once the reactor has its signal handlers.
        self._reactor.callWhenRunning(self._start_children)

    def _start_children(self) -> None:
        if self.stopping:
            return
        now = self._reactor.seconds()
        self.children.startService()
        self._last_beat = now
        self._heartbeat.start(HEARTBEAT_S, now=False).addErrback(self._broken)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("the supervisor does not watch its children any more", failure)

    def _arguments(self, name: str) -> list[str]:
        assert self._runtime is not None
        if name == BROKER:
            return ["broker", "--control", self._runtime.control]
        slot = str(self.names.index(name) - self._own_broker)
        return ["node", "--control", self._runtime.control, "--slot", slot]

    def _listen_admin(self) -> None:
        assert self._admin_socket is not None
        self._admin = self.config.admin.at_port(self._admin_socket.getsockname()[1])
        self._ports.append(
            self._reactor.adoptStreamPort(
                self._admin_socket.fileno(), self._admin.family, make_site(self)
            )
        )
        self._admin_socket.close()  # the port has its own copy
        self._admin_socket = None

    # The children's side (control.Registry).

    def registered(self, link: ChildLink, slot: int, pid: int) -> dict[str, Any]:
        """A child has come: its configuration. Raises Refused."""
        name = self._name(slot)
        if self.stopping or self.children.pid(name) != pid:
            raise Refused(f"process {pid} is not {name} of this cluster")
        assert self._runtime is not None
        if slot == BROKER_SLOT:
            config = {"address": self._runtime.broker, "drain_timeout": self.config.drain_timeout}
        else:
            self._reopen(self._slots[slot])
            bus = self._runtime.broker if self._own_broker else self.config.bus
            config = {**self.config.node, "name": name, "bus": bus}
        self._links[name] = link
        return config

    def listeners(self, slot: int) -> list[tuple[int, int, str]]:
        """The listening sockets for a child: (descriptor, family, endpoint)."""
        if slot == BROKER_SLOT:
            return []
        return [
            (sock.fileno(), address.family, address.text)
            for sock, address in zip(self._slots[slot].sockets, self._listens, strict=True)
        ]

    def became_ready(self, link: ChildLink) -> None:
        """The child serves."""
        assert link.slot is not None
        name = self._name(link.slot)
        self.children.became_ready(name)
        self._starting.forget(name)
        self._serving.heard(name, self._reactor.seconds())
        if name != BROKER:
            slot = self._slots[link.slot]
            slot.reopened = False
            if slot.closing is not None:
                slot.closing.cancel()
                slot.closing = None
        self.log.info("{name} ready (process {pid})", name=name, pid=link.pid)
        if not self._announced and all(map(self.children.is_ready, self.names)):
            self._announced = True
            self.log.info(
                "c10k ready: {urls} ({nodes}, up to {capacity:,} connections), admin {admin}",
                urls=", ".join(address.url for address in self._listens),
                nodes=_count(self.config.nodes, "node"),
                capacity=self._capacity,
                admin=self._admin.url,
            )

    def left(self, link: ChildLink) -> None:
        """A registered child's connection is gone."""
        assert link.slot is not None
        self._asked.discard(link)
        name = self._name(link.slot)
        if self._links.get(name) is link:
            del self._links[name]

    def _name(self, slot: int) -> str:
        if slot == BROKER_SLOT and self._own_broker:
            return BROKER
        if 0 <= slot < len(self._slots):
            return self._slots[slot].name
        raise Refused(f"there is no slot {slot}")

    def _child_ended(self, name: str) -> None:
        self._links.pop(name, None)
        self._starting.forget(name)
        self._serving.forget(name)
        if name == BROKER or self.stopping:
            return
        slot = self._slots[self.names.index(name) - self._own_broker]
        if slot.reopened:
            self._close_slot(slot)
        elif slot.closing is None and slot.sockets:
            slot.closing = self._reactor.callLater(SLOT_GRACE_S, self._give_up, slot)

    # Slots.

    def _give_up(self, slot: Slot) -> None:
        slot.closing = None
        self.log.warn(
            "{name} has had no serving process for {seconds:.0f} s:"
            " its new connections go to others",
            name=slot.name,
            seconds=SLOT_GRACE_S,
        )
        self._close_slot(slot)

    def _close_slot(self, slot: Slot) -> None:
        sockets.close_all(slot.sockets)
        slot.sockets = []
        slot.reopened = False

    def _close_slots(self) -> None:
        for slot in self._slots:
            if slot.closing is not None:
                slot.closing.cancel()
                slot.closing = None
            self._close_slot(slot)

    def _reopen(self, slot: Slot) -> None:
        if slot.sockets:
            return
        # When all slots are closed, anybody may have taken the port.
        shared = any(other.sockets for other in self._slots)
        opened: list[socket.socket] = []
        try:
            for address in self._listens:
                opened.append((sockets.share if shared else sockets.claim)(address))
        except ConfigurationError as error:
            sockets.close_all(opened)
            self.log.error("{name}: {error}", name=slot.name, error=error)
            raise Refused(str(error)) from None
        slot.sockets = opened
        slot.reopened = True

    # Liveness and figures.

    def _beat(self) -> None:
        now = self._reactor.seconds()
        if now - self._last_beat > 3 * HEARTBEAT_S:
            # It is we who were stopped, or the whole machine.
            self._starting.excuse(now)
            self._serving.excuse(now)
        self._last_beat = now
        for name in self.names:
            if self.children.pid(name) is not None and not self.children.is_ready(name):
                self._starting.watch(name, now)
        for name, link in list(self._links.items()):
            if link not in self._asked:
                self._asked.add(link)
                link.stats().addCallbacks(self._answered, lambda _: None, callbackArgs=(name, link))
        for liveness in (self._starting, self._serving):
            for name in liveness.silent(now):
                self.log.error(
                    "{name} (process {pid}) has not answered for {seconds:.0f} s; replacing it",
                    name=name,
                    pid=self.children.pid(name),
                    seconds=liveness.timeout,
                )
                liveness.forget(name)
                self.children.kill(name)

    def _answered(self, _: dict[str, Any], name: str, link: ChildLink) -> None:
        self._asked.discard(link)
        if self._links.get(name) is link:
            liveness = self._serving if self.children.is_ready(name) else self._starting
            liveness.heard(name, self._reactor.seconds())

    def survey(self) -> "Deferred[dict[str, dict[str, Any] | None]]":
        """The figures of every child; None for one that is not there or does not answer in time."""
        answers = [self._figures(name) for name in self.names]
        return gatherResults(answers).addCallback(
            lambda figures: dict(zip(self.names, figures, strict=True))
        )

    def _figures(self, name: str) -> "Deferred[dict[str, Any] | None]":
        link = self._links.get(name)
        if link is None:
            return succeed(None)
        return link.stats().addTimeout(ANSWER_S, self._reactor).addErrback(lambda _: None)

    def starts(self) -> Mapping[str, int]:
        """How often each child was started."""
        return self.children.starts

    def missing(self, figures: dict[str, dict[str, Any] | None]) -> list[str]:
        """What keeps the cluster from being ready, one phrase each; empty if it is."""
        if self.stopping:
            return ["stopping"]
        phrases = []
        for name, its_figures in figures.items():
            if name not in self._links:
                phrases.append(f"{name} is not running")
            elif not self.children.is_ready(name):
                phrases.append(f"{name} is starting")
            elif its_figures is None:
                phrases.append(f"{name} does not answer")
            elif not its_figures.get("ready", False):
                phrases.append(f"{name} is draining or without the bus")
        return phrases

    # Stop.

    def stopService(self) -> "Deferred[None]":
        """Let the nodes drain, then stop the broker; fires when all processes have ended."""
        if self._stopped is None:
            super().stopService()
            self.stopping = True
            self.log.info("stopping")
            if self._heartbeat.running:
                self._heartbeat.stop()
            # The nodes close theirs when they begin to drain; then the kernel refuses new ones.
            self._close_slots()
            if self._admin_socket is not None:
                self._admin_socket.close()
            self._stopped = self.children.stopService().addCallback(self._clean_up)
        # Each caller gets a Deferred of its own, because each may add to its result.
        waiting: Deferred[None] = Deferred()
        self._stopped.addBoth(lambda _: waiting.callback(None))
        return waiting

    def _clean_up(self, _: object) -> "Deferred[None]":
        closed = [maybeDeferred(port.stopListening) for port in self._ports]
        self._ports = []

        def release(_: object) -> None:
            if self._runtime is not None:
                self._runtime.release()

        return gatherResults(closed, consumeErrors=True).addBoth(release)

    def _ask_to_stop(self, name: str) -> bool:
        link = self._links.get(name)
        if link is None:
            return False
        link.stop()
        return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
