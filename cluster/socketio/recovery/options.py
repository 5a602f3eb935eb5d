"""RecoveryOptions: for how long clients can come back, and how many events are kept for them."""

from dataclasses import dataclass

from cluster.django.api.history_settings import Kept

MAX_RECOVERY_S = 24 * 3600
"""Seconds. All nodes keep the events of so long a time in memory."""

MAX_EVENTS = 100_000

HEARTBEAT_S = 5.0
"""Seconds between the signs of life of a node; its sessions end if there are none."""

AT_ONCE = 200
"""Records that are published in a turn of the event loop, and clients that are closed."""

SLACK_S = 10.0
"""Seconds that events are kept for longer than sessions."""


@dataclass(frozen=True, slots=True)
class RecoveryOptions:
    """The options of a server with recovery.

    Attributes:
        seconds: How long a client may be disconnected.
        events: How many of the newest events of a namespace are kept.
    """

    seconds: float
    events: int

    @property
    def kept(self) -> Kept:
        """How the topic of a log retains its events."""
        seconds = self.seconds + HEARTBEAT_S + SLACK_S
        return Kept(self.events, int(seconds * 1000))


def recovery_options(seconds: float | None, events: int) -> RecoveryOptions | None:
    """The options that were given to SocketIO; None if it has no recovery.

    Raises:
        ValueError: A number is wrong.
    """
    if not isinstance(events, int) or not 1 <= events <= MAX_EVENTS:
        raise ValueError(
            f"recovery_events is a number of events from 1 to {MAX_EVENTS:,}, not {events!r}"
        )
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not 0 < seconds <= MAX_RECOVERY_S:
        raise ValueError(
            f"recovery is a number of seconds above 0, at most {MAX_RECOVERY_S:,}, not {seconds!r}"
        )
    return RecoveryOptions(seconds, events)
