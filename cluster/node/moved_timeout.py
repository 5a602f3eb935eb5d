"""A timeout that each request moves, without a new timer for each.

Twisted's TimeoutMixin cancels its timer when a request has arrived, and starts another after the
response. Here the timer stays, and looks at the deadline when it fires. Unlike those of
CoarseTimers, these timeouts are not late.
"""

from typing import Any


class MovedTimeout:
    """Replaces the methods of ``twisted.protocols.policies.TimeoutMixin``, from which the protocol
    has ``callLater`` and ``timeoutConnection``.

    Call ``cancel_timeout`` at the end of the connection.
    """

    site: Any  # whose ``clock`` is that of ``callLater``
    callLater: Any
    timeoutConnection: Any
    timeOut: Any = None
    """Seconds."""

    _deadline: float | None = None
    _timer: Any = None

    def setTimeout(self, period: float | None) -> Any:
        """Call ``timeoutConnection`` after ``period`` seconds, in place of the earlier timeout.

        Args:
            period: Seconds; None for no timeout.

        Returns:
            The earlier period.
        """
        previous, self.timeOut = self.timeOut, period
        if period is None:
            self._deadline = None
            return previous
        self._deadline = deadline = self.site.clock.seconds() + period
        if self._timer is None:
            self._timer = self.callLater(period, self._timer_fires)
        elif self._timer.getTime() > deadline:
            self._timer.reset(period)
        return previous

    def resetTimeout(self) -> None:
        """Begin the period again; ignored without a timeout."""
        if self._deadline is not None and self.timeOut is not None:
            self.setTimeout(self.timeOut)

    def cancel_timeout(self) -> None:
        """End the timer as well: nothing refers to the protocol any more."""
        self._deadline = None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _timer_fires(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.site.clock.seconds()
        if left > 0:
            self._timer = self.callLater(left, self._timer_fires)
        else:
            self._deadline = None
            self.timeoutConnection()
