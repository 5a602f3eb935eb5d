"""The exceptions of Socket.IO servers::

Exception
├── ConnectionRefused           a namespace does not accept a client
└── TimeoutError
    └── AcknowledgementTimeout  clients have not acknowledged an event in time
"""

from typing import Any


class ConnectionRefused(Exception):
    """Raise it in ``on_connect``, or in a check, to refuse the client.

    The client's ``connect_error`` receives an error with this message, and with the data.

    Args:
        message: The message of the error.
        data: JSON for the attribute ``data`` of the error; None for none.
    """

    def __init__(self, message: str = "Connection refused", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    @property
    def content(self) -> dict[str, Any]:
        """What the packet CONNECT_ERROR carries."""
        content: dict[str, Any] = {"message": self.message}
        if self.data is not None:
            content["data"] = self.data
        return content


class AcknowledgementTimeout(TimeoutError):
    """Clients have not acknowledged an event in time, or have left.

    Args:
        message: What is missing.
        responses: The acknowledgements of other clients, for an event to several.
    """

    def __init__(self, message: str, responses: list[Any] | None = None) -> None:
        super().__init__(message)
        self.responses = responses or []
