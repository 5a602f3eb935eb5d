"""Calls from a thread into the thread of the event loop, with their results."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from cluster.core.exceptions import NotRunning

ANSWER_TIMEOUT_S = 10.0
"""Seconds that a thread waits for the event loop. The loop answers at once, unless a handler blocks
it."""


def call_in_reactor(reactor: Any, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Run a function in the event loop's thread, wait for it, and return its result.

    Call it in any other thread.

    Args:
        reactor: The event loop.
        function: The function to run. Its exceptions are raised here.
        arguments: Its positional arguments.

    Returns:
        The function's result.

    Raises:
        NotRunning: The event loop did not begin to run the function within ANSWER_TIMEOUT_S. The
            function will not be called.
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
        return answer.result()  # the function began just after the timeout
