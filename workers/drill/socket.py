"""What the clients of a drill use of a WebSocket."""

from typing import Protocol


class Lost(Exception):
    """The connection has ended, or could not be opened."""


class Socket(Protocol):
    """One connection. ``ended``: whether it has ended, although messages may be left."""

    ended: bool

    def send(self, text: str) -> None:
        """Send a text message; ignored when the connection has ended."""

    async def receive(self) -> str | bytes:
        """Wait for the next message. Raises Lost."""

    def abort(self) -> None:
        """End the connection at once."""
