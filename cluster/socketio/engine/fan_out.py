"""One message to many clients of this node."""

from collections.abc import Iterable
from typing import Any

from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.engine.registry import sessions


def send_to_all(clients: Iterable[Any], packet: OutPacket) -> None:
    """Queue a message on many clients, without waiting.

    It is sent together with publications at the end of the turn, at most some 20 ms later (see
    cluster.net.loop.end_of_turn), because a system call for each client and message would cost
    more than all other work.

    Args:
        clients: EngineClients, or others with ``connection`` None and ``send``.
        packet: The message.
    """
    frames = packet.frames
    is_single = len(frames) == 1
    frame = frames[0]
    end_of_turn = sessions.end_of_turn
    published = end_of_turn.published
    # The hot path of all rooms: as PubSub.publish, without a call for each client.
    for client in clients:
        connection = client.connection
        if connection is None:
            client.send(packet)
            continue
        out = connection.out
        if not out:
            published.append(connection)
        if is_single:
            out.append(frame)
        else:
            out.extend(frames)
    end_of_turn.schedule_published()
