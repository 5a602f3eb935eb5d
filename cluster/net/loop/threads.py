"""From a thread into the reactor, and back with the result."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from cluster.core.exceptions import NotRunning

ANSWER_TIMEOUT_S = 10.0
"""How long a thread waits for the reactor, which takes microseconds unless a handler blocks it."""


def call_in_reactor(reactor: Any, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Run in the reactor's thread, wait, and return the result or raise what it raised.

    Must not be called in that thread. Raises NotRunning if the reactor does not come to it within
    ANSWER_TIMEOUT_S; then it will not be run.
    """
    answer: Future[Any] = Future()

    def run() -> None:
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(function(*arguments))
            except Exception as error:
                answer.set_exception(error)

    reactor.callFromThread(run)
    try:
        return answer.result(ANSWER_TIMEOUT_S)
    except TimeoutError:
        if answer.cancel():
            raise NotRunning("the node does not answer; it may be stopping") from None
        return answer.result()  # it has just begun
