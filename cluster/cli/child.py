"""A child of the supervisor: ``python -m cluster node|broker --control PATH [--slot K]``.

Not meant to be typed; ``twistd c10k`` starts these. A child connects to the control socket, is told
its configuration, serves, and says so. It ends

* when told to stop, or by SIGTERM (nodes only: the broker must outlive the nodes, and a service
  manager may signal all processes at once): after draining, and at the latest 2 s after the drain
  timeout, because a view that does not return would hold Twisted's thread pool for ever;
* at once when the control connection is lost: then the supervisor is gone, and holding the ports
  without it would keep the next one from starting.
"""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import ClientFactory
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import provider

from cluster.cli.process_setup import hard_exit_after, hear_signals_once, install_asyncio_reactor
from cluster.cli.startup_errors import log_failed_start
from cluster.supervisor.control_connection import BROKER_SLOT, SupervisorLink

EXIT_FAILED = 1
EXIT_ORPHANED = 3

_PR_SET_PDEATHSIG = 1


class ChildService(Protocol):
    """What a child runs: a Node or a Broker."""

    ready: "Deferred[None]"

    def startService(self) -> None: ...
    def stopService(self) -> Any: ...
    def stats(self) -> dict[str, Any]: ...


MakeService = Callable[[dict[str, Any], list[tuple[int, int, str]]], ChildService]


class Child:
    """One child's life: register, start, report, stop.

    ``make_service(config, listeners)`` is called once registered. ``exit(status)`` must end the
    process without ceremony.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        slot: int,
        make_service: MakeService,
        exit: Callable[[int], Any] = os._exit,
    ) -> None:
        self.status = 0
        self._reactor = reactor
        self._slot = slot
        self._make_service = make_service
        self._exit = exit
        self._service: ChildService | None = None
        self._stopping = False
        self._drain_timeout = 0.0
        self.link = SupervisorLink(self._connected, self._stats, self.stop, self._orphaned)

    def connect(self, path: str) -> None:
        """Connect to the supervisor; everything else follows from what it says."""
        factory = _LinkFactory(self.link, self._orphaned)
        self._reactor.connectUNIX(path, factory)

    def _connected(self) -> None:
        registered = self.link.register(self._slot, os.getpid())
        registered.addCallback(self._start).addErrback(self._failed)

    def _start(self, config: dict[str, Any]) -> "Deferred[None]":
        self._drain_timeout = config["drain_timeout"]
        self._reactor.addSystemEventTrigger("before", "shutdown", self._shutdown)
        self._service = self._make_service(config, self.link.listeners)
        self._service.startService()
        return self._service.ready.addCallback(lambda _: self.link.ready())

    def _failed(self, failure: Any) -> None:
        if self._stopping:
            return
        log_failed_start(self.log, failure)
        self.status = EXIT_FAILED
        self.stop()

    def stop(self) -> None:
        """Drain and end. Idempotent."""
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _shutdown(self) -> "Deferred[Any]":
        self._stopping = True
        hard_exit_after(self._drain_timeout, lambda: self._exit(self.status))
        service = self._service
        stopped = succeed(None) if service is None else maybeDeferred(service.stopService)
        return stopped.addBoth(self._drained)

    def _drained(self, result: Any) -> None:
        if isinstance(result, Failure):
            self.log.failure("error while stopping", result)
        # From here on it is the reactor that closes connections, the control connection too.
        self._exit = lambda status: None

    def _stats(self) -> dict[str, Any]:
        return {} if self._service is None else self._service.stats()

    def _orphaned(self) -> None:
        self._exit(EXIT_ORPHANED)


class _LinkFactory(ClientFactory):
    """Makes the one connection."""

    noisy = False

    def __init__(self, link: SupervisorLink, failed: Callable[[], None]) -> None:
        self._link = link
        self._failed = failed

    def buildProtocol(self, addr: Any) -> SupervisorLink:
        return self._link

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self._failed()


def make_node(config: dict[str, Any], listeners: list[tuple[int, int, str]]) -> ChildService:
    """A node as configured, with its slot's listening sockets."""
    from twisted.internet import reactor

    from cluster.node.node import Listener, Node, NodeConfig

    return Node(NodeConfig(**config), [Listener(*listener) for listener in listeners], reactor)


def make_broker(config: dict[str, Any], _: list[tuple[int, int, str]]) -> ChildService:
    """The cluster's own broker."""
    from twisted.internet import reactor

    from cluster.broker import Broker

    return Broker(config["address"], reactor)


def log_plainly(write: Callable[[str], object]) -> None:
    """Log level and text only: the supervisor's log adds time and name."""

    @provider(ILogObserver)
    def observer(event: LogEvent) -> None:
        level = event.get("log_level", LogLevel.info)
        text = formatEvent(event) or ""
        if "log_failure" in event:
            text = f"{text}\n{event['log_failure'].getTraceback()}"
        write(f"{level.name}: {text.rstrip()}\n")

    predicate: Any = LogLevelFilterPredicate(defaultLogLevel=LogLevel.info)
    filtering: Any = FilteringLogObserver(observer, [predicate])
    globalLogBeginner.beginLoggingTo([filtering], redirectStandardIO=False)


def die_with_parent() -> None:
    """Have the kernel kill us when the supervisor dies: even if our loop is blocked just then.

    Linux only; elsewhere the control connection does it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line that ``Supervisor`` writes."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="A child process of twistd c10k; started by it."
    )
    parser.add_argument("kind", choices=["node", "broker"])
    parser.add_argument("--control", required=True, metavar="PATH", help="the control socket")
    parser.add_argument("--slot", type=int, default=BROKER_SLOT, help="which node (from 0)")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> NoReturn:
    """Run a child until it is told to stop."""
    arguments = parse_arguments(argv)
    die_with_parent()
    # Ctrl-C reaches the whole process group; when to stop is the supervisor's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    is_node = arguments.kind == "node"
    if is_node:
        install_asyncio_reactor()
    log_plainly(sys.stdout.write)
    from twisted.internet import reactor

    main_loop: Any = reactor
    child = Child(main_loop, arguments.slot, make_node if is_node else make_broker)
    if is_node:
        hear_signals_once(main_loop, child.stop)
    else:  # once running, because a reactor starts by installing its own handler
        main_loop.callWhenRunning(signal.signal, signal.SIGTERM, signal.SIG_IGN)
    child.connect(arguments.control)
    main_loop.run()
    sys.stdout.flush()
    # Past the interpreter's own end, which would wait for the threads of views that still run.
    os._exit(child.status)
