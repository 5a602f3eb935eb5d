"""A part of a drill's summary."""

from typing import Any

COUNTS = {
    "clients": 2,
    "confirmed": 1000,
    "received": 2000,
    "reconnected": 3,
    "losses_announced": 0,
    "lost_in_double_faults": 0,
}
CLIENTS: dict[str, Any] = {
    "life": {
        "size": 32,
        "compared": 1500,
        "resumed": 512,
        "longest_stall": 1.7,
        "boards_compared": 1200,
        "longest_without_board": 2.1,
    },
    "feed": COUNTS,
    "chat": {**COUNTS, "lost_in_double_faults": 2},
}
"""What Clients.summary returns; both kinds of drill have it."""
