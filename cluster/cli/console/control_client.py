"""Declares a command for a running cluster, and sends it to the supervisor.

The commands are those of cluster.supervisor.operators, over its private control socket. A call
blocks until the response is there, and needs no reactor.
"""

import argparse
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.protocols import amp

from cluster.core.exceptions import NotRunning, OperationFailed
from cluster.net.running_clusters import running_clusters
from cluster.supervisor.control_connection.commands import Ask

END_OF_BOX = b"\0\0"


def add_command(
    subparsers: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,
    description: str,
    json: str = "print JSON, for programs",
) -> argparse.ArgumentParser:
    """Declare a subcommand for a running cluster, with ``--port``, which chooses the cluster.

    Args:
        subparsers: Those of the parser.
        name: The subcommand.
        run: Runs it, and returns the exit status.
        help: Its line in the help of ``c10k``.
        description: The beginning of its own help.
        json: The help of ``--json``; empty if it has no such option.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=help, description=description
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--port",
        type=int,
        metavar="PORT",
        help="the first listening port of the cluster [default: the only one that is running]",
    )
    if json:
        parser.add_argument("--json", action="store_true", help=json)
    return parser


def control_socket(port: int | None) -> str:
    """Return the path of the control socket of a running cluster of this user.

    Args:
        port: Its first listening port; None for the only cluster.

    Raises:
        NotRunning: There is no such cluster, or there are several.
    """
    running = running_clusters(os.environ, os.getuid())
    if port is None and len(running) > 1:
        ports = ", ".join(map(str, running))
        raise NotRunning(f"several clusters are running: choose one with --port ({ports})")
    if not running or (port is not None and port not in running):
        where = "" if port is None else f" on port {port}"
        raise NotRunning(f"no cluster of this user is running{where}")
    return os.path.join(
        running[port] if port is not None else next(iter(running.values())), "control.sock"
    )


def ask(arguments: argparse.Namespace, what: str, **more: Any) -> Any:
    """Ask a question of cluster.supervisor.operators.

    Args:
        arguments: Those of the command line, with ``port``.
        what: The question.
        more: Its keyword arguments.

    Returns:
        The answer, a JSON value.

    Raises:
        NotRunning: There is no such cluster, or there are several.
        OperationFailed: There is no answer; the text is for the operator.
    """
    path = control_socket(arguments.port)
    protocol: Any = None  # AMP needs it for descriptors only
    box = Ask.makeArguments({"what": what, "arguments": more}, protocol)
    box[amp.ASK] = b"1"
    box[amp.COMMAND] = Ask.commandName
    with socket.socket(socket.AF_UNIX) as connected:
        try:
            connected.connect(path)
            connected.sendall(box.serialize())
            answer = _receive(connected)
        except OSError as error:
            raise OperationFailed(f"{path}: {error.strerror}") from None
    if amp.ERROR in answer:
        raise OperationFailed(answer[amp.ERROR_DESCRIPTION].decode())
    return Ask.parseResponse(answer, protocol)["answer"]


def _receive(connected: socket.socket) -> Any:
    """Receive one box: no supervisor sends a second one before the next command."""
    received = b""
    while not received.endswith(END_OF_BOX) or not (boxes := amp.parseString(received)):
        piece = connected.recv(65536)
        if not piece:
            raise OperationFailed("the supervisor has ended before it answered")
        received += piece
    return boxes[0]
