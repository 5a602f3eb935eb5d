"""operate: what the command ``c10k`` does, for views: status, topics, clients, disconnecting."""

from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from cluster.core.exceptions import NotRunning, OperationFailed
from cluster.django.api.topics import running_node

TIMEOUT_S = 10.0
"""Longer than the supervisor waits for the nodes."""


def operate(command: str, **arguments: Any) -> Any:
    """Ask the supervisor of this cluster what the command line ``c10k`` asks.

    Call it in a view, or in any other thread of a node but that of the event loop: it waits for the
    answer, up to ten seconds. It is not limited to some users: check permissions before.

    Args:
        command: ``"status"``, ``"topics"``, ``"clients"``, ``"disconnect"``, ``"publish"`` or
            ``"logs"``.
        **arguments: The options of the command: ``limit`` for ``topics`` and ``clients``; ``id``,
            ``user``, ``topic``, ``address``, ``path`` and ``node`` choose clients; ``code`` and
            ``reason`` are sent to those that are disconnected.

    Returns:
        What ``c10k COMMAND --json`` prints.

    Raises:
        NotRunning: This process is not a node, or its node has no supervisor.
        OperationFailed: The command is wrong, or there is no answer; the text says why.
        RuntimeError: The caller is in the thread of the event loop; nothing was asked.
    """
    node = running_node()
    ask = node.ask_supervisor
    if ask is None:
        raise NotRunning("this node has no supervisor")
    if node.is_reactor_thread():
        raise RuntimeError("operate() waits: call it in a thread, not in the event loop")
    asked: Future[Any] = Future()

    def start() -> None:
        try:
            answer = ask(command, arguments)
        except Exception as error:
            asked.set_exception(error)
            return
        answer.addCallbacks(asked.set_result, lambda failure: asked.set_exception(failure.value))

    node.in_reactor_later(start)
    try:
        return asked.result(TIMEOUT_S)
    except FutureTimeout:
        raise OperationFailed("the supervisor does not answer") from None
