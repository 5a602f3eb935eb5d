"""The conversation of `swarm echo`, and whether the server keeps to it.

    < Hello!
    > Spam?
    < 1. Spam?
    > Eggs!
    < 2. Eggs!
    > Python.
    < 3. Python.
    < Goodbye!
    close 1000

Nothing here knows connections or time.
"""

from collections.abc import Sequence

SAID = (b"Spam?", b"Eggs!", b"Python.")
HEARD = (b"Hello!", *(b"%d. %s" % said for said in enumerate(SAID, 1)), b"Goodbye!")


class WrongTranscript(Exception):
    """The server said something else; the text is the reason, without whose client it was."""


class Transcript:
    """One client's part. After a WrongTranscript it is of no further use."""

    __slots__ = ("heard", "said")

    def __init__(self) -> None:
        self.heard = 0  # messages of HEARD
        self.said = 0  # messages of SAID

    @property
    def may_speak(self) -> bool:
        """It is the client's turn; otherwise the server's, to say something or to close."""
        return self.said < len(SAID) and self.heard == self.said + 1

    def receive(self, messages: Sequence[bytes]) -> int:
        """The server's messages; returns how many of them answered one of ours."""
        answers = 0
        for message in messages:
            # A reply before its question is as wrong as any other.
            due = self.heard <= self.said or self.heard == len(SAID) + 1
            if not due or message != HEARD[self.heard]:
                expected = repr(HEARD[self.heard].decode()) if due else "nothing"
                got = message[:40].decode(errors="replace")
                raise WrongTranscript(f"wrong transcript: expected {expected}, got {got!r}")
            answers += 0 < self.heard <= len(SAID)
            self.heard += 1
        return answers

    def say(self) -> bytes:
        """The next message; only if the client may speak."""
        message = SAID[self.said]
        self.said += 1
        return message

    def finish(self, code: int) -> None:
        """The server has closed; raises WrongTranscript if that was not the end."""
        if self.heard < len(HEARD):
            raise WrongTranscript(
                f"wrong transcript: closed {code} after {self.heard} of {len(HEARD)} messages"
            )
        if code != 1000:
            raise WrongTranscript(f"wrong transcript: closed {code} instead of 1000")
