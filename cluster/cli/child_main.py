"""The program of a child process: ``python -m cluster node|broker --control PATH [--slot K]``.

``twistd c10k`` starts these processes; users do not. A node reads the options that are not in the
command line from the site's settings, which may have changed since the supervisor started.

SIGHUP, which restarts the cluster if the supervisor receives it, is logged and has no effect here.

``broker --fingerprint`` prints a hash of the code that a broker runs. A rolling restart compares it
with that of the running broker, and leaves that broker alone if they are equal: replacing it
interrupts the link between the nodes.
"""

import argparse
import hashlib
import importlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from twisted.logger import globalLogBeginner

from cluster.cli.child import EXIT_ORPHANED, EXIT_STOPPED, Child, ChildService
from cluster.cli.log_signals import handle_log_signals
from cluster.cli.process_setup import (
    ignore_signals,
    install_asyncio_reactor,
    signal_at_end_of_parent,
    stop_on_first_signal,
    use_monotonic_clock,
)
from cluster.cli.value_checks import add_site_settings, check_settings
from cluster.logs.formats import FORMATS
from cluster.logs.outputs import Descriptor
from cluster.logs.process_log import ProcessLog
from cluster.supervisor.control_connection.commands import BROKER_SLOT
from cluster.supervisor.heartbeat_pipe import HeartbeatThread

FINGERPRINT_S = 30
"""Seconds after which ``--fingerprint`` is given up; the supervisor waits for it."""

STDERR = 2

LIBRARIES = ("Twisted", "pyzmq")
"""Distributions whose release is part of the fingerprint."""


def make_node(
    log: ProcessLog, config: dict[str, Any], sockets: list[tuple[int, int, str, str]]
) -> ChildService:
    """Create the node of a slot, with the slot's listening sockets."""
    from twisted.internet import reactor

    from cluster.node.config import ListeningSocket, NodeConfig
    from cluster.node.node import Node

    node = Node(NodeConfig(**config), [ListeningSocket(*each) for each in sockets], reactor)
    node.django_is_loaded = log.django_is_loaded
    return node


def load_site(settings: str) -> None:
    """Import what a node needs, and the site, before there is a slot."""
    from cluster.node.node import load_django

    check_settings(settings)
    load_django(settings)
    importlib.import_module("cluster.node.assembly")


def make_broker(config: dict[str, Any], _: list[tuple[int, int, str, str]]) -> ChildService:
    """Create the cluster's own broker."""
    from twisted.internet import reactor

    if "uplink" in config:
        from cluster.broker.gateway_broker import make_gateway

        return make_gateway(config["address"], reactor, config["uplink"], config["history"])
    from cluster.broker.broker import Broker

    return Broker(config["address"], reactor, history=config["history"])


def code_fingerprint(has_uplink: bool = False) -> str:
    """Import the broker, and return a hash of the files of c10k that are loaded now.

    It includes the releases of Python and of libraries.
    """
    importlib.import_module("cluster.broker.broker")
    libraries, scripts = list(LIBRARIES), list[Path]()
    if has_uplink:
        importlib.import_module("cluster.broker.gateway_broker")
        libraries.append("redis")
        scripts = sorted(Path(__file__).parents[1].rglob("*.lua"))
    digest = hashlib.sha256(sys.version.encode())
    for library in libraries:
        digest.update(importlib.metadata.version(library).encode())
    for name, loaded in sorted(sys.modules.items()):
        path = getattr(loaded, "__file__", None)
        if name.partition(".")[0] == "cluster" and path:
            digest.update(name.encode())
            digest.update(Path(path).read_bytes())
    for script in scripts:
        digest.update(script.read_bytes())
    return digest.hexdigest()


def log_to_supervisor(process: str, log_format: str, descriptor: int) -> ProcessLog:
    """Write the log of this process to the supervisor, in the form of the supervisor's own lines.

    Args:
        process: The name of this process.
        log_format: A key of FORMATS.
        descriptor: The supervisor's pipe for it.
    """
    if descriptor > STDERR:
        os.set_inheritable(descriptor, False)  # programs that a view starts must not hold it open
    log = ProcessLog(process, FORMATS[log_format](), Descriptor(descriptor), is_child=True)
    log.take_standard_streams(sys)
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    log.start()
    return log


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line that ``Supervisor`` writes."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="A child process of twistd c10k; started by it."
    )
    parser.add_argument("kind", choices=["node", "broker"])
    parser.add_argument("--control", metavar="PATH", help="the control socket")
    parser.add_argument("--slot", type=int, default=BROKER_SLOT, help="which node (from 0)")
    parser.add_argument(
        "--fingerprint", action="store_true", help="print the fingerprint of the code, and exit"
    )
    parser.add_argument("--uplink", action="store_true", help="a broker that has an uplink")
    parser.add_argument("--spare", metavar="SETTINGS", help="load this site, and wait for a slot")
    parser.add_argument("--log-format", choices=sorted(FORMATS), default="text")
    parser.add_argument("--log-descriptor", type=int, default=1, help="the pipe for the log")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> NoReturn:
    """Run a child until the supervisor asks it to stop."""
    arguments = parse_arguments(argv)
    if arguments.fingerprint:
        signal.alarm(FINGERPRINT_S)  # ends the process, even if an import never returns
    # Even if the loop is blocked and does not notice that the control connection is lost.
    signal_at_end_of_parent(signal.SIGKILL)
    # Ctrl-C sends SIGINT to the whole process group, but the supervisor stops each child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    is_node = arguments.kind == "node"
    if is_node or arguments.uplink:
        install_asyncio_reactor()
    process = f"node{arguments.slot}" if is_node else "broker"
    if arguments.spare:
        process = "spare"
    log = log_to_supervisor(process, arguments.log_format, arguments.log_descriptor)
    from twisted.internet import reactor

    def leave(status: int) -> NoReturn:
        if status != EXIT_ORPHANED:  # then nobody reads the log
            log.stop()
        # Not sys.exit(): the interpreter would wait for the threads of views that still run.
        os._exit(status)

    main_loop: Any = reactor
    use_monotonic_clock(main_loop)
    handle_log_signals(main_loop, log.reopen)
    if is_node:
        child = Child(
            main_loop,
            arguments.slot,
            partial(make_node, log),
            leave,
            add_site_settings,
            dropped_lines=lambda: log.dropped,
            load=partial(load_site, arguments.spare) if arguments.spare else None,
            named=lambda slot: log.rename(f"node{slot}"),
        )
        stop_on_first_signal(main_loop, child.stop)
    else:
        fingerprint = code_fingerprint(arguments.uplink)
        if arguments.fingerprint:
            print(fingerprint, file=sys.__stdout__, flush=True)
            os._exit(EXIT_STOPPED)
        child = Child(
            main_loop,
            BROKER_SLOT,
            make_broker,
            leave,
            fingerprint=fingerprint,
            dropped_lines=lambda: log.dropped,
        )
        ignore_signals(
            main_loop, (signal.SIGTERM, signal.SIGQUIT), "the broker ends with its nodes"
        )
    ignore_signals(main_loop, (signal.SIGHUP,), "send it to the supervisor to restart the cluster")
    HeartbeatThread().watch(main_loop)
    child.connect(arguments.control)
    main_loop.run()
    leave(child.status)
