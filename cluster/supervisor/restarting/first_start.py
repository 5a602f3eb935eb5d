"""FirstStart: logs why children cannot start, and whether the cluster gives up."""

from twisted.logger import Logger


class FirstStart:
    """Call ``served`` when a node serves, and ``failed`` when a child cannot start."""

    log = Logger()

    def __init__(self) -> None:
        self._has_served = False
        self._reason = ""

    def served(self) -> None:
        """A node serves: from now on, the cluster does not give up."""
        self._has_served = True
        self._reason = ""

    def failed(self, name: str, reason: str, permanent: bool) -> bool:
        """A process of a child cannot start.

        Args:
            name: The child.
            reason: Why it cannot start.
            permanent: Whether a restart does not help.

        Returns:
            Whether to give up: an error in the site's code prevents the first start.
        """
        # All nodes run the same site, so each start fails for the same reason: log it once.
        if reason != self._reason:
            self._reason = reason
            self.log.critical(
                "cannot start: {reason}", reason=reason, log_system=f"{name}#critical"
            )
        return permanent and not self._has_served
