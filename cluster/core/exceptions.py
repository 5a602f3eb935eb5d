"""The error tree::

    ClusterError
    ├── WireError            bytes from another process make no sense (drop them, tell the log)
    ├── BarrierRefused       a barrier is full, already released, or was cancelled
    ├── Disconnected         the client of this connection is gone
    ├── NotRunning           publish or barrier called in a process that is no node
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


class NotRunning(ClusterError):
    """There is no node in this process."""


class ConfigurationError(ClusterError):
    """A setting or an option cannot be used as it is."""
