"""Binary parts of a packet's data, and the placeholders that stand for them in its JSON."""

from typing import Any

from cluster.core.socketio.engine_packets import InvalidPacket

_PLACEHOLDER = "_placeholder"


def without_binary(value: Any, attachments: list[bytes]) -> Any:
    """A copy of a value with placeholders in the places of its binary parts."""
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {_PLACEHOLDER: True, "num": len(attachments) - 1}
    if isinstance(value, dict):
        return {key: without_binary(each, attachments) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_binary(each, attachments) for each in value]
    return value


def filled(data: Any, attachments: list[bytes]) -> Any:
    """The data with each attachment in the place of its placeholder.

    An attachment has one placeholder: with more, a short packet could stand for very much data.
    """
    left: dict[Any, bytes] = dict(enumerate(attachments))

    def fill(value: Any) -> Any:
        if value.__class__ is list:
            return [fill(each) for each in value]
        if value.__class__ is not dict:
            return value
        if value.get(_PLACEHOLDER) is True:
            number = value.get("num")
            if number.__class__ is not int or number not in left:
                raise InvalidPacket("a placeholder without an attachment of its own")
            return left.pop(number)
        return {key: fill(each) for key, each in value.items()}

    try:
        whole = fill(data)
    except RecursionError:
        raise InvalidPacket("the data is nested too deeply") from None
    if left:
        raise InvalidPacket("an attachment without a placeholder")
    return whole
