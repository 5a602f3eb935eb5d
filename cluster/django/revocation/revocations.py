"""Close the clients of a session or user that may no longer be connected, on every node.

Each node keeps its clients that came with a session or a user (revocable_clients.py). Code that
ends a session, in any process, publishes a revocation (session_signals.py does so for Django's own
signals), and every node closes the clients that it concerns.

A revocation is published in two ways. As a message without history it reaches all nodes that are
connected to this one at once, even if the broker, or what connects machines, is out of reach. As a
message with history it reaches also a node that is cut off, when it is connected again: the topic
retains HISTORY revocations for LIFETIME_S. A node that has been away for longer, or has missed
more, closes all clients that came with a session or a user; they reconnect, and their sessions are
checked (RevocableClients.lost).
"""

import os
import time
from typing import Any

from django.apps import apps
from django.contrib import auth
from django.core.exceptions import ValidationError
from django.db import transaction
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import NotRunning
from cluster.django.api import backends
from cluster.django.api.history_settings import Kept
from cluster.django.api.payloads import as_frame
from cluster.django.api.publication import Counts, Publication
from cluster.django.external.engine_requests import is_bus_named
from cluster.django.revocation.revocable_clients import REMEMBERED, digest, sign
from cluster.logs.rate_limit import LimitedLog

TOPIC = b"c10k/revocations"

HISTORY = REMEMBERED
"""Revocations that the topic retains, about 250 bytes each: 2.5 MB in each process at most. A site
of 100,000 logouts a day makes as many in two hours."""

LIFETIME_S = 24 * 3600
"""How long they are retained: longer than an interruption that nobody mends."""

_KEPT = Kept(HISTORY, LIFETIME_S * 1000)
_log = Logger()
_log_unreached = LimitedLog(_log.error, "revocations that reached no machine")


def revoke(*, user: Any = None, session_key: str | None = None, using: str | None = None) -> None:
    """Close all connections of a user or of a session, on every node.

    Call it after a change that sends no signal, such as ``QuerySet.update`` or deleting a session
    from a cache by its key; Django's signals do this for logouts, deleted sessions and users,
    deactivation and new passwords. Call it from any thread of any process that has the site's
    settings. Inside a database transaction it takes effect after the commit.

    Args:
        user: A user, or a user's primary key.
        session_key: The key of a session.
        using: The alias of the database whose transaction counts; the default one without it.

    Raises:
        TypeError: Neither user nor session_key is given, or user is neither a user nor a primary
            key, such as a username.
        ValueError: The user was never saved, or is anonymous.
    """
    if user is None and session_key is None:
        raise TypeError("revoke() needs user= (a user or a primary key) or session_key=")
    if user is not None:
        send({"user": _primary_key(user)}, using)
    if session_key is not None:
        send({"session": digest(session_key)}, using)


def _primary_key(user: Any) -> str:
    """The text of a user's primary key; raises as revoke does."""
    if hasattr(user, "pk"):
        if user.pk is None:
            raise ValueError(f"{user!r} has no primary key: it was never saved, or is anonymous")
        return str(user.pk)
    if not apps.is_installed("django.contrib.auth"):
        return str(user)
    model: Any = auth.get_user_model()
    try:
        return str(model._meta.pk.to_python(user))
    except ValidationError:
        raise TypeError(
            f"user must be a user or a primary key of {model.__name__}, not {user!r}"
        ) from None


def send(revocation: dict[str, str], using: str | None = None) -> None:
    """Publish a revocation when the transaction on ``using``, if there is one, commits.

    Saving a user must not fail when no cluster is running. What goes wrong is logged.
    """
    # Asked without opening a connection: a logout may come from code that has no database.
    if transaction.get_connection(using).in_atomic_block:
        transaction.on_commit(lambda: _publish(revocation, wait=False), using=using, robust=True)
    else:
        _publish(revocation, wait=True)


def _publish(revocation: dict[str, str], wait: bool) -> None:
    # The time of the commit: until then, clients may load what the transaction changes.
    made = {"at": int(time.time() * 1000), "id": os.urandom(8).hex()}
    frame = as_frame(sign({**revocation, **made}))
    # The one without history first: it reaches the clients of this node at once.
    for publication in (Publication(TOPIC, frame), Publication(TOPIC, frame, _KEPT)):
        try:
            if wait:
                backends.current().publish(publication)
            else:
                backends.current().publish_later(publication, _published)
        except NotRunning as error:
            _reached_no_machine(error)
            return
        except Exception:
            _log.failure("a revocation could not be published")


def _published(answer: Counts | Exception) -> None:
    if isinstance(answer, NotRunning):
        _reached_no_machine(answer)
    elif isinstance(answer, Exception):
        _log.failure("a revocation could not be published", Failure(answer))


def _reached_no_machine(error: NotRunning) -> None:
    """Without a cluster there are no clients. But machines that are cut off have some."""
    if is_bus_named():
        _log_unreached("", "a revocation reached no machine: {error}", error=error)
