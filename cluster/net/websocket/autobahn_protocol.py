"""Autobahn's server protocol and factory, with types and slots, and without its log lines.

Autobahn formats coloured text for its debug log at each event, even if that log is off, and logs a
warning for each client that violates the protocol. Here all its log lines but errors are dropped,
and a client that violates the protocol causes one line at level info.
"""

from typing import TYPE_CHECKING, Any

from autobahn.websocket.types import ConnectionRequest
from twisted.logger import Logger
from twisted.python.failure import Failure

CLOSED, CONNECTING, CLOSING, OPEN = range(4)
"""The values of a connection's ``state``, as Autobahn numbers them."""

if TYPE_CHECKING:
    # Autobahn's annotations contradict its code. Type checkers see these declarations instead: all
    # names of Autobahn's two classes that this package reads, calls or overrides.

    class _Protocol:
        CONFIG_ATTRS: Any
        peer: str
        transport: Any
        state: int
        data: bytes
        current_frame: Any
        current_frame_masker: Any
        inside_message: bool
        message_data: Any
        message_is_binary: bool
        send_queue: Any
        trafficStats: Any
        is_open: Any
        is_closed: Any
        failedByMe: bool
        wasClean: bool
        wasNotCleanReason: str | None
        factory: Any
        http_request_data: bytes | None
        http_response_data: bytes | None
        http_status_line: str | None
        http_headers: dict[str, str]
        http_request_uri: str
        maxMessagePayloadSize: int
        closeHandshakeTimeout: float
        autoPingInterval: float
        autoPingPending: bytes | None
        autoPingPendingCall: Any
        autoPingTimeoutCall: Any
        openHandshakeTimeoutCall: Any
        closeHandshakeTimeoutCall: Any

        def _connectionMade(self) -> None: ...
        def dataReceived(self, data: bytes) -> None: ...
        def _dataReceived(self, data: bytes) -> None: ...
        def _connectionLost(self, reason: Failure) -> None: ...
        def processHandshake(self) -> None: ...
        def onConnect(self, request: ConnectionRequest) -> Any: ...
        def succeedHandshake(self, res: Any) -> None: ...
        def onOpenHandshakeTimeout(self) -> None: ...
        def onAutoPingTimeout(self) -> None: ...
        def _sendAutoPing(self) -> None: ...
        def _cancelAutoPingTimeoutCall(self) -> None: ...
        def failHandshake(
            self, reason: str, code: int = 400, responseHeaders: Any = None
        ) -> None: ...
        def sendData(
            self, data: bytes, sync: bool = False, chopsize: int | None = None
        ) -> None: ...
        def sendCloseFrame(
            self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
        ) -> None: ...
        def dropConnection(self, abort: bool = False) -> None: ...
        def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None: ...

    class _Factory:
        reactor: Any
        server: str
        headers: dict[str, str]
        protocol: Any
        perMessageCompressionAccept: Any

        def __init__(self, *, server: str, reactor: Any) -> None: ...
        def setProtocolOptions(self, **options: Any) -> None: ...
        def buildProtocol(self, addr: Any) -> Any: ...
else:
    from autobahn.twisted.websocket import WebSocketServerFactory as _Factory
    from autobahn.twisted.websocket import WebSocketServerProtocol as _Protocol


class _ErrorsOnly:
    """Replaces Autobahn's logger; forwards only errors."""

    def __init__(self, log: Logger) -> None:
        self.error = log.error
        self.critical = log.critical
        self.failure = log.failure

    def debug(self, *args: Any, **kwargs: Any) -> None:
        pass

    trace = info = warn = debug


class AutobahnProtocol(_Protocol):
    """Autobahn's state machine for one connection. Subclasses log with ``logger``."""

    logger = Logger()
    log = _ErrorsOnly(logger)  # Autobahn logs with this attribute

    def _fail_connection(self, code: int = 1001, reason: str = "going away") -> None:
        if self.state == OPEN:
            self.factory.log_invalid(
                str(code),
                "{peer}: invalid input, closing with {code} {reason}",
                peer=self.peer,
                code=code,
                reason=reason,
            )
        super()._fail_connection(code, reason)


class AutobahnFactory(_Factory):
    """Autobahn's factory, without log lines when it starts and stops."""

    noisy = False


_SLOTS = """
state data current_frame current_frame_masker inside_message
message_is_binary message_data message_data_total_length frame_length frame_data control_frame_data
send_state send_queue triggered trafficStats trackedTimings out paused
autoPingTimeoutCall autoPingPending autoPingPendingCall autoPingPendingSeq autoPingPendingSent
openHandshakeTimeoutCall closeHandshakeTimeoutCall
closedByMe failedByMe droppedByMe wasClean wasNotCleanReason wasServerConnectionDropTimeout
wasOpenHandshakeTimeout wasCloseHandshakeTimeout wasServingFlashSocketPolicyFile
wasMaxFramePayloadSizeExceeded wasMaxMessagePayloadSizeExceeded
localCloseCode localCloseReason remoteCloseCode remoteCloseReason
http_request_data http_response_data http_status_line http_headers http_request_uri
http_request_path http_request_params http_request_host
websocket_version websocket_protocols websocket_protocol_in_use websocket_origin
websocket_extensions websocket_extensions_in_use _wskey _perMessageCompress
is_open is_closed _transport_details _valid_events
"""

SLOTS = tuple(_SLOTS.split())
"""The slots of each connection: the attributes that Autobahn sets, and ``out`` and ``paused``,
which are read for each message.

In a dict they would take 1.6 KB per connection. Each must be set before it is read: a slot hides
the default of a base class, so an attribute whose default is needed must not be listed. Attributes
that are not listed, such as those of another version of Autobahn, are stored in the connection's
dict; the slot of an attribute that Autobahn does not set costs 8 bytes.
"""
