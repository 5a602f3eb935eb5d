"""The conversation of `swarm echo`: a state machine without I/O that checks the server's messages.

    < Hello!
    > Spam?
    < 1. Spam?
    > Eggs!
    < 2. Eggs!
    > Python.
    < 3. Python.
    < Goodbye!
    < close 1000

`<` marks the server's messages, `>` the client's.
"""

from collections.abc import Sequence

CLIENT_MESSAGES = (b"Spam?", b"Eggs!", b"Python.")
SERVER_MESSAGES = (
    b"Hello!",
    *(b"%d. %s" % numbered for numbered in enumerate(CLIENT_MESSAGES, 1)),
    b"Goodbye!",
)


class WrongTranscript(Exception):
    """The server has deviated from the conversation. The text is the failure reason."""


class Transcript:
    """One client's conversation. Do not use it any more after a WrongTranscript."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0  # of SERVER_MESSAGES
        self.sent = 0  # of CLIENT_MESSAGES

    @property
    def may_send(self) -> bool:
        """Whether the client must send next; otherwise the server must send or close."""
        return self.sent < len(CLIENT_MESSAGES) and self.received == self.sent + 1

    def receive(self, messages: Sequence[bytes]) -> int:
        """Process the server's messages; returns how many are replies to the client's messages.

        Raises WrongTranscript.
        """
        replies = 0
        for message in messages:
            # A reply that arrives before the client's message is wrong, too.
            due = self.received <= self.sent or self.received == len(CLIENT_MESSAGES) + 1
            if not due or message != SERVER_MESSAGES[self.received]:
                expected = repr(SERVER_MESSAGES[self.received].decode()) if due else "nothing"
                got = message[:40].decode(errors="replace")
                raise WrongTranscript(f"wrong transcript: expected {expected}, got {got!r}")
            replies += 0 < self.received <= len(CLIENT_MESSAGES)
            self.received += 1
        return replies

    def next_message(self) -> bytes:
        """The message to send now. Call it only if `may_send`."""
        message = CLIENT_MESSAGES[self.sent]
        self.sent += 1
        return message

    def finish(self, code: int) -> None:
        """The server has closed with `code`. Raises WrongTranscript if that was not the end."""
        if self.received < len(SERVER_MESSAGES):
            raise WrongTranscript(
                f"wrong transcript: closed {code} after {self.received} of "
                f"{len(SERVER_MESSAGES)} messages"
            )
        if code != 1000:
            raise WrongTranscript(f"wrong transcript: closed {code} instead of 1000")
