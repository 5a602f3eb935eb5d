"""Whether a session can be continued, and what its client receives first."""

from cluster.core.broker_state.retained_topic import Position
from cluster.core.socketio.membership import Membership
from cluster.socketio.recovery.event_log import EventLog
from cluster.socketio.recovery.records import Record
from cluster.socketio.recovery.session import ON_NODE, Session


def continued(
    record: Record, log: EventLog, position: Position | None, token: str
) -> Session | None:
    """The session of a record, for a new socket.

    Args:
        record: The record.
        log: The log of its namespace.
        position: That of the last event that the client has received; None without one.
        token: The token of this process.

    Returns:
        The session; None if it is not known what the client has missed.
    """
    epoch, newest = log.position()
    membership = Membership.from_json(record.sid, record.membership)
    if record.epoch != epoch:
        last = log.last_offset_of(record.epoch)
        if last is None:
            return None
        membership.renumbered(last, newest)
    if position is None:
        position = epoch, membership.start
    last = log.last_offset_of(position[0])
    if last is None or position[1] > last:
        return None
    after = membership.resume_after(position[1])
    if after is None:
        return None
    missed = log.since(position if after == position[1] else (epoch, after))
    if missed is None:
        return None
    for room in tuple(membership.joined):
        if room.startswith(ON_NODE):
            membership.leave(room, newest)
    membership.join(ON_NODE + token, newest)
    session = Session(record.pid, membership, record.version + 1, missed)
    session.data = record.data
    return session
