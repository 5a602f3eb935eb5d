"""Audiences: everybody, a user, a group or a session, as receivers of messages.

A facility is a name for one purpose, such as "notices"; its audiences are topics::

    audience/FACILITY/broadcast
    audience/FACILITY/user/USERNAME
    audience/FACILITY/group/NAME
    audience/FACILITY/session/DIGEST       of the session's key, which is a secret

Each part is quoted as in a URL ("/" as %2F), so that no name makes one topic look like another.
``publish_to`` sends to them, from anywhere; contrib.websocket_redis lets browsers subscribe. The
entry of C10K["TOPICS"] for ``audience/*`` applies to them: with ``{"history": 1, "expire": 3600}``
clients that connect within an hour receive the last message of each.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from cluster.django.api.payloads import NOT_GIVEN, Payload, as_topic, frame_of
from cluster.django.api.publication import Publication
from cluster.django.api.publishing import how_kept, publish_all
from cluster.django.api.receipt import Receipt
from cluster.django.revocation.revocable_clients import digest


def broadcast_topic(facility: str) -> str:
    """The topic of everybody who listens to the facility."""
    return f"audience/{_facility(facility)}/broadcast"


def user_topic(facility: str, user: Any) -> str:
    """The topic of a user, or of a user's name."""
    return f"audience/{_facility(facility)}/user/{_quoted(user, 'get_username')}"


def group_topic(facility: str, group: Any) -> str:
    """The topic of the members of a group, or of a group's name."""
    return f"audience/{_facility(facility)}/group/{_quoted(group, 'name')}"


def session_topic(facility: str, session: Any) -> str:
    """The topic of a session, or of a session's key. Raises ValueError for one without a key."""
    key = session if isinstance(session, str) else _attribute(session, "session_key")
    if not key:
        raise ValueError("this session has no key: save it first")
    return f"audience/{_facility(facility)}/session/{digest(key)}"


def publish_to(
    message: Payload | None = None,
    *,
    json: Any = NOT_GIVEN,
    facility: str,
    users: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    sessions: Iterable[Any] | None = None,
    broadcast: bool = False,
    expire: float | None = None,
    immediate: bool = False,
    using: str | None = None,
) -> Receipt:
    """Send a message to audiences of a facility, on every node.

    Call it from any thread of any process that has the site's settings. Name at least one kind of
    audience; an empty list is one. A client in several of them receives the message once for each
    (``audience_socket`` sends a repeated message only to clients with ``echo``). Transactions and
    ``C10K["PUBLISH_WITHOUT_CLUSTER"]`` count as for ``publish``.

    Args:
        message: Text or bytes, for a text or a binary message.
        json: In place of a message, a value that is sent as JSON text by Django's encoder.
        facility: The name of the facility, such as "notices".
        users: Users, or their names.
        groups: Groups, or their names.
        sessions: Sessions, or their keys.
        broadcast: Everybody who listens to the facility.
        expire: For how many seconds the message is retained, as the last one of each audience, for
            clients that connect later. Without it, ``C10K["TOPICS"]`` decides.
        immediate: Send now, even inside a transaction.
        using: The alias of the database whose transaction counts; the default one without it.

    Returns:
        One receipt for all audiences: the nodes of the audience that is on most, and the
        connections of all. It is pending until the transaction commits.

    Raises:
        TypeError: One receiver is given in place of a list, or something that is not a receiver;
            both message and json are given, or neither, or one that cannot be encoded.
        ValueError: No kind of audience is given, a session was never saved, ``facility`` is empty,
            ``expire`` is not above 0, or ``json`` has a NaN.
        NotRunning: No cluster is running, and the setting is ``"error"``.
        NotPublished: The node refused the message, or did not answer.
        ConfigurationError: Several clusters of this project are running, or one of another version.
    """
    for name, given in (("users", users), ("groups", groups), ("sessions", sessions)):
        if given is not None and (isinstance(given, str | bytes) or not hasattr(given, "__iter__")):
            raise TypeError(f"{name} must be a list, not {given!r}")
    if users is None and groups is None and sessions is None and not broadcast:
        raise ValueError("no audience: give users, groups, sessions or broadcast=True")
    topics = [broadcast_topic(facility)] if broadcast else []
    topics += [user_topic(facility, user) for user in users or ()]
    topics += [group_topic(facility, group) for group in groups or ()]
    topics += [session_topic(facility, session) for session in sessions or ()]
    frame = frame_of(message, json)
    retain = None if expire is None else 1
    publications = [
        Publication(topic, frame, how_kept(topic, retain, expire))
        for topic in map(as_topic, dict.fromkeys(topics))
    ]
    return publish_all(publications, immediate=immediate, using=using)


def _facility(facility: str) -> str:
    """The facility as part of a topic. In a URL it is the rest of the path, so slashes around it
    are ignored."""
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
        raise TypeError(f"{given!r} is not a name, and has no {name}") from None
