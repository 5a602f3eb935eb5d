"""The uplink of a cluster to other machines, as operators see it.

The broker reports it in its statistics, as ``uplink``::

    machine    the name of this machine
    state      "joined", or "connecting", "joining", "interrupted", "cut off"
    reason     why it is not joined, as a phrase; may be empty
    seconds    how long it has been in this state
    machines   the names of the other machines

A cluster that is not joined is *degraded*: it serves, but what its nodes publish does
not reach those of other machines, nor the other way round.
"""

from collections.abc import Callable, Mapping
from typing import Any

from cluster.supervisor.heartbeat import Statistics

JOINED = "joined"

_PHRASES = {
    "connecting": "not joined with the other machines yet",
    "joining": "joining the other machines",
    "interrupted": "interrupted on the way to the other machines",
    "cut off": "cut off from the other machines",
}


def uplink_of(statistics: Mapping[str, Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """What the broker reports; None if there is no uplink, or the broker does not answer."""
    found = (each["uplink"] for each in statistics.values() if each and "uplink" in each)
    return next(found, None)


def degraded(statistics: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    """Why the cluster is degraded, one phrase for each reason; empty if it is not."""
    uplink = uplink_of(statistics)
    if uplink is None or uplink["state"] == JOINED:
        return []
    return [_phrase(uplink)]


def _phrase(uplink: Mapping[str, Any]) -> str:
    reason = f": {uplink['reason']}" if uplink["reason"] else ""
    return f"{_PHRASES.get(uplink['state'], uplink['state'])}{reason}"


class UplinkEvents:
    """Compares each sample with the one before, and records what has changed.

    Args:
        record: Adds an event: its kind, its text, and its level as a keyword argument.
    """

    def __init__(self, record: Callable[..., None]) -> None:
        self._record = record
        self._state = ""
        self._machines: frozenset[str] = frozenset()

    def add(self, statistics: Statistics) -> None:
        """Add a sample."""
        uplink = uplink_of(statistics)
        if uplink is None:
            return
        state, machines = uplink["state"], frozenset(uplink["machines"])
        if state != self._state:
            if state == JOINED:
                others = ", ".join(sorted(machines)) or "no other machine is there"
                self._record("uplink", f"joined the other machines: {others}")
            elif self._state or uplink["reason"]:  # otherwise it is only starting
                self._record("uplink", _phrase(uplink), level="warn")
        elif state == JOINED:
            for machine in sorted(machines - self._machines):
                self._record("uplink", f"machine {machine} has joined")
            for machine in sorted(self._machines - machines):
                self._record("uplink", f"machine {machine} is gone", level="warn")
        self._state, self._machines = state, machines
