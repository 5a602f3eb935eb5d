"""The error tree::

    ClusterError
    ├── WireError            bytes from another process make no sense (drop them, tell the log)
    ├── BarrierRefused       a barrier is full, already released, or was cancelled
    ├── Disconnected         the client of this connection is gone
    ├── TooSlow              a loop over a topic's messages took them too slowly; some are lost
    ├── NotRunning           there is no node in this process, or none that can be reached
    ├── NotPublished         a process outside the cluster has no receipt for a publication
    ├── DatabaseQueueFull    in_database was asked for more than may wait; try again later
    └── ConfigurationError   a setting or option is wrong; the text says which and what to do

Catch ClusterError to catch them all.
"""


class ClusterError(Exception):
    """Base of all errors of this package."""


class WireError(ClusterError):
    """A message of the node-broker link could not be read."""


class BarrierRefused(ClusterError):
    """This party will not be part of the barrier's release."""


class Disconnected(ClusterError):
    """The connection is closed; ``code`` is the close code, 1006 if there was none."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"connection closed ({code}{': ' + reason if reason else ''})")
        self.code = code
        self.reason = reason


class TooSlow(ClusterError):
    """More messages waited than may; the text says how many were dropped."""


class NotRunning(ClusterError):
    """There is no node in this process, or none that can be reached from it."""


class NotPublished(ClusterError):
    """A publication from outside the cluster was refused, or not answered.

    ``uncertain``: its subscribers may have got it all the same.
    """

    def __init__(self, reason: str, uncertain: bool = False) -> None:
        super().__init__(reason)
        self.uncertain = uncertain


class DatabaseQueueFull(ClusterError):
    """As many calls wait for a database thread as C10K["DATABASE_QUEUE"] allows."""


class ConfigurationError(ClusterError):
    """A setting or an option cannot be used as it is."""
