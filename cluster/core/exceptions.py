"""The error tree::

    ClusterError
    ├── WireError            a message from another process cannot be decoded
    ├── BarrierRefused       a barrier is full, already released, or was cancelled
    ├── Disconnected         the connection to this client is closed
    ├── MessagesLost         messages of a topic are lost
    │   └── TooSlow          a loop over a topic's messages was too slow for them
    ├── NotRunning           this process has no node and cannot connect to one
    ├── NotPublished         the cluster did not take a publication, or gave no receipt
    ├── DatabaseQueueFull    too many calls of ain_database are waiting; try again later
    ├── OperationFailed      the supervisor could not do what an operator asked for
    └── ConfigurationError   a setting or option is invalid; the text says which one and what to do

Catch ClusterError to catch them all.
"""


class ClusterError(Exception):
    """Base class of the errors of this package. Catch it to catch all of them."""


class WireError(ClusterError):
    """A message from another process cannot be decoded.

    The receiver drops the message, counts it as ``malformed`` and logs the text.
    """


class BarrierRefused(ClusterError):
    """The barrier did not accept this party: it is full, already released, or was cancelled."""


class Disconnected(ClusterError):
    """The connection is closed and cannot be used any more: let this exception end the handler.

    ``code`` is the close code (RFC 6455, section 7.4), 1006 if the client sent none; ``reason`` is
    the text that came with it.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"connection closed ({code}{': ' + reason if reason else ''})")
        self.code = code
        self.reason = reason


class MessagesLost(ClusterError):
    """Messages of a topic did not reach this node, and cannot be delivered any more.

    The node was cut off from the others for too long. The messages that follow are there: loop
    again to receive them. Load again whatever state the application derives from the messages.
    """


class TooSlow(MessagesLost):
    """A loop over a topic's messages was too slow; the text says how many messages are lost."""


class NotRunning(ClusterError):
    """This process has no node, and it cannot connect to one.

    Start the cluster, or check the setting ``C10K["CLUSTER_PORT"]``.
    """


class NotPublished(ClusterError):
    """The cluster refused a publication, or did not answer.

    A node refuses messages with history while too many wait for the broker. An external publication
    is also refused if the node ends, for example.

    ``uncertain`` is True if subscribers may have received it nevertheless: if you publish it again,
    they may receive it twice.
    """

    def __init__(self, reason: str, uncertain: bool = False) -> None:
        super().__init__(reason)
        self.uncertain = uncertain


class DatabaseQueueFull(ClusterError):
    """As many calls wait for a database thread as ``C10K["DATABASE_QUEUE"]`` allows.

    Try again later, or allow more threads.
    """


class OperationFailed(ClusterError):
    """The supervisor could not do what an operator asked for; the text says why."""


class ConfigurationError(ClusterError):
    """A setting or an option cannot be used; the text says which one and what to do."""
