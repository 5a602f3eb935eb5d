"""The threads of the views: a queue, and threads that are started when they are needed.

A view of a few lines takes less time than Twisted's own pool needs to pass it to a thread, with its
coordinator and its contexts (``python -m benchmarks.http --work view``).
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from twisted.logger import Logger

_log = Logger()


class ThreadPool:
    """Runs functions in up to ``maximum`` threads, which remain until ``stop``.

    Args:
        maximum: The number of threads.
        name: Their name, for the lists of debuggers.
    """

    def __init__(self, maximum: int, name: str) -> None:
        self.max = maximum
        self.threads: list[Thread] = []
        self._name = name
        self._lock = Lock()
        self._unfinished = 0
        self._calls: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()

    def callInThread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in one of the threads, as soon as one is free."""
        with self._lock:
            self._unfinished += 1
            if len(self.threads) < min(self._unfinished, self.max):
                name = f"{self._name}-{len(self.threads)}"
                thread = Thread(target=self._run, name=name, daemon=True)
                self.threads.append(thread)
                thread.start()
        self._calls.put((function, *args))

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            function, *args = call
            del call
            try:
                function(*args)
            except Exception:
                _log.failure("a call in a thread failed")
            del function, args  # which would live until the next call
            with self._lock:
                self._unfinished -= 1

    def stop(self) -> None:
        """End the threads, and wait until they have finished their calls. Call nothing more."""
        for _ in self.threads:
            self._calls.put(None)
        for thread in self.threads:
            thread.join()
        self.threads.clear()
