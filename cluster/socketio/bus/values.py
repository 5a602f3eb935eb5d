"""Values in envelopes: what handlers return and clients acknowledge, with binary data at any depth.

They are encoded as the acknowledgement of a packet.
"""

from collections.abc import Sequence
from typing import Any

from cluster.core.exceptions import WireError
from cluster.core.socketio import packets
from cluster.core.socketio.engine_packets import InvalidPacket
from cluster.core.socketio.packets import ACK
from cluster.core.socketio.reassembly import Reassembly
from cluster.django.api.json_messages import encode_json
from cluster.socketio.limits import BUS_PACKETS


def encode_value(value: Any) -> tuple[bytes, ...]:
    """The parts of a value.

    Raises:
        TypeError: It cannot be encoded.
        ValueError: It has a NaN.
    """
    text, attachments = packets.encode(ACK, "/", [value], 0, encode_json)
    return (text, *attachments)


def decode_value(parts: Sequence[bytes]) -> Any:
    """The value of these parts.

    Raises:
        WireError: They are none.
    """
    try:
        packet = packets.decode(parts[0], BUS_PACKETS)
        if packet.attachments:
            reassembly, found = Reassembly(packet, BUS_PACKETS), None
            for data in parts[1:]:
                found = reassembly.attachment(data)
            if found is None:
                raise WireError("attachments are missing")
            packet = found
        return packet.data[0]
    except (InvalidPacket, IndexError) as error:
        raise WireError(f"no value: {error}") from None
