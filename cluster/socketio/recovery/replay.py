"""replay: sends a socket the events of the log that its client has missed, and then those that
have arrived meanwhile, until it has all of them."""

import asyncio

from cluster.socketio.engine.client import EngineClient
from cluster.socketio.recovery.event_log import EventLog, LogEntry
from cluster.socketio.recovery.session import ON_NODE, NewSocket, Session

CHUNK = 100
"""Events of the log that are looked at in a turn of the event loop: less than a millisecond."""

FULL_PAUSE_S = 0.02
"""Seconds until the replay looks again whether the client has read."""


async def replay(socket: NewSocket, engine: EngineClient, log: EventLog, low_water: int) -> bool:
    """Send what the socket has missed; then it is live.

    Args:
        socket: The socket, which is connected.
        engine: Its client.
        log: The log of its namespace.
        low_water: Bytes that may wait for the client while more is sent.

    Returns:
        False if events are not known any more, so that the client must be closed.
    """
    session = socket.recovery_session
    if session is None or session.missed is None:
        return True
    missed, session.missed = session.missed, None
    looked_at = 0
    while True:
        for frame, offset in missed.frames:
            entry = log.entry(frame, offset, missed.epoch)
            if entry is not None and is_for(session, entry, offset):
                engine.send(entry.packet)
            looked_at += 1
            if looked_at % CHUNK == 0 or engine.queued_bytes > low_water:
                await asyncio.sleep(0)
                while engine.is_open and engine.queued_bytes > low_water:
                    await asyncio.sleep(FULL_PAUSE_S)
                if socket.recovery_session is not session:
                    return True  # the client is gone
        if log.position()[0] != missed.epoch:
            return False
        further = log.since((missed.epoch, missed.newest))
        if further is None:
            return False
        if not further.frames:
            socket.go_live()
            return True
        missed = further


def is_for(session: Session, entry: LogEntry, offset: int) -> bool:
    """Whether an event of the log is for the socket of a session."""
    membership = session.membership
    if entry.node and not membership.was_in(ON_NODE + entry.node, offset):
        return False
    return membership.receives(entry.rooms, entry.skipped, offset)
