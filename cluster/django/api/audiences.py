"""Audiences: everybody, a user, a group or a session, as receivers of messages.

A facility is a name for one purpose, such as "notices"; its audiences are topics::

    audience/FACILITY/broadcast
    audience/FACILITY/user/USERNAME
    audience/FACILITY/group/NAME
    audience/FACILITY/session/DIGEST       of the session's key, which nobody is to see

Each part is quoted as in a URL ("/" as %2F), so that no name makes one topic look like another.
``publish_to`` sends to them, from anywhere; audience_socket.py lets browsers listen. What
C10K["TOPICS"] says of ``audience/*`` holds for them: with ``{"history": 1, "expire": 3600}`` the
last message of each waits for those who connect later.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from cluster.core.wire_external import Receipt
from cluster.django.api.publishing import publish
from cluster.django.api.topics import Payload
from cluster.django.revocation import digest


def broadcast_topic(facility: str) -> str:
    """Of everybody who listens to the facility."""
    return f"audience/{_facility(facility)}/broadcast"


def user_topic(facility: str, user: Any) -> str:
    """Of a user, given as such or by name."""
    return f"audience/{_facility(facility)}/user/{_quoted(user, 'get_username')}"


def group_topic(facility: str, group: Any) -> str:
    """Of the members of a group, given as such or by name."""
    return f"audience/{_facility(facility)}/group/{_quoted(group, 'name')}"


def session_topic(facility: str, session: Any) -> str:
    """Of a session, given as such or by its key; a session that was never saved has none.

    Raises ValueError for that.
    """
    key = session if isinstance(session, str) else _attribute(session, "session_key")
    if not key:
        raise ValueError("this session has no key: save it first")
    return f"audience/{_facility(facility)}/session/{digest(key)}"


def publish_to(
    message: Payload,
    *,
    facility: str,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    sessions: Iterable[Any] | None = None,
    broadcast: bool = False,
    expire: float | None = None,
    immediate: bool = False,
    using: str | None = None,
) -> Receipt | None:
    """Send a message to audiences of a facility, on every node; from any thread and any process.

    ``users``: users or their names · ``groups``: groups or their names · ``sessions``: sessions or
    their keys · ``broadcast``: everybody. Whoever is in several audiences gets it once for each,
    but see ``echo`` in audience_socket.py. ``expire``: for how many seconds it waits, as the
    last message of each audience, for those who connect later; without, C10K["TOPICS"] decides.

    Inside a transaction (of the database ``using``) it goes out when that is committed, and the
    result is None; with ``immediate`` at once. Otherwise the receipt has the connections of all
    audiences together, and the nodes of the audience that is on most.

    Raises ValueError if no kind of audience is given (an empty list is one), TypeError for one
    receiver in place of a list or for something that is none, and what ``publish`` raises.
    """
    for name, given in (("users", users), ("groups", groups), ("sessions", sessions)):
        if given is not None and (isinstance(given, str | bytes) or not hasattr(given, "__iter__")):
            raise TypeError(f"{name} must be a list, not {given!r}")
    if users is None and groups is None and sessions is None and not broadcast:
        raise ValueError("to whom? Give users, groups, sessions or broadcast=True")
    topics = [broadcast_topic(facility)] if broadcast else []
    topics += [user_topic(facility, user) for user in users or ()]
    topics += [group_topic(facility, group) for group in groups or ()]
    topics += [session_topic(facility, session) for session in sessions or ()]
    retain = None if expire is None else 1
    receipts = [
        publish(topic, message, retain=retain, expire=expire, immediate=immediate, using=using)
        for topic in dict.fromkeys(topics)
    ]
    known = [receipt for receipt in receipts if receipt is not None]
    if len(known) < len(receipts):
        return None
    return Receipt(
        max((receipt.nodes for receipt in known), default=0),
        sum(receipt.connections for receipt in known),
    )


def _facility(facility: str) -> str:
    """Facilities are the rest of a URL's path: slashes around them mean nothing."""
    if not isinstance(facility, str):
        raise TypeError(f"a facility is a name, not {facility!r}")
    name = facility.strip("/")
    if not name:
        raise ValueError(f"a facility must have a name, not {facility!r}")
    return quote(name, safe="")


def _quoted(given: Any, attribute: str) -> str:
    name = given if isinstance(given, str) else _attribute(given, attribute)
    return quote(name() if callable(name) else name, safe="")


def _attribute(given: Any, name: str) -> Any:
    try:
        return getattr(given, name)
    except AttributeError:
        raise TypeError(f"{given!r} is neither a name nor has it a {name}") from None
