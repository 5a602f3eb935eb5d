"""Close the clients of a session or user that may no longer be connected, on every node.

Each node keeps its clients that came with a session or a user (``revocable_clients``). Code that
ends a session, in any process, publishes a revocation (session_signals.py does so for Django's own
signals), and every node closes the clients that it concerns. A revocation is JSON, signed with
SECRET_KEY::

    {"session": digest}            the clients of this session
    {"user": pk}                   all of this user
    {"user": pk, "hash": digest}   all of this user that came with another password

Session keys and password hashes are sent and kept as keyed digests only.

Two races are closed here. A client whose session is being loaded while a revocation arrives is
closed as soon as it is added, because a node remembers the latest revocations. And because Django
sends ``user_logged_out`` before it deletes the session, a session that was revoked stays revoked.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.contrib import auth
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.crypto import salted_hmac
from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import NotRunning
from cluster.django.api import backends
from cluster.django.api.payloads import as_frame
from cluster.django.api.publication import Counts, Publication
from cluster.logs.rate_limit import LimitedLog

CLOSE_REVOKED = 4401
"""The session has ended: don't reconnect, ask the user to log in. (Compare HTTP's 401.)"""

CLOSE_SESSION_CHANGED = 1012
"""A session without a user has ended, as when a guest logs in: reconnect, with the new session."""

REASON = "the session has ended"

TOPIC = b"c10k/revocations"

REMEMBERED = 10_000
"""Revocations that a node remembers: far more than arrive while a session is being loaded, or
between the signal of a logout and the deletion of its session."""

Close = Callable[[int, str], None]

_SALT = "c10k.revocation"
_log = Logger()
_log_unsigned = LimitedLog(_log.warn, "ignored revocations")


def digest(secret: str) -> str:
    """A digest keyed with SECRET_KEY, so that it is the same in all processes of the site."""
    return salted_hmac(_SALT, secret, algorithm="sha256").hexdigest()


class _Client:
    """A registered client; compared by identity."""

    __slots__ = ("auth_hash", "close", "session", "user")

    def __init__(self, session: str, user: str | None, auth_hash: str, close: Close) -> None:
        self.session = session
        self.user = user
        self.auth_hash = auth_hash
        self.close = close

    def end(self) -> None:
        if self.user is None:
            self.close(CLOSE_SESSION_CHANGED, REASON)
        else:
            self.close(CLOSE_REVOKED, REASON)


class RevocableClients:
    """The clients of one node that a revocation may concern. Belongs to the reactor thread."""

    def __init__(self) -> None:
        self.revocations = 0  # of users; sessions once revoked stay so
        self.closed_total = 0
        self._sessions: dict[str, set[_Client]] = {}
        self._users: dict[str, set[_Client]] = {}
        self._latest: deque[tuple[int, str, str]] = deque(maxlen=REMEMBERED)
        self._revoked_sessions: dict[str, None] = {}

    def add(self, request: Any, close: Close) -> Callable[[], None]:
        """Call ``close(code, reason)`` when the session or the user of the request is revoked.

        Args:
            request: The client's, after ``sessions.load``.
            close: Closes the client; may be called before this returns.

        Returns:
            A function that the caller must call when the client is gone. It is idempotent.
        """
        key, user = request.session_cookie, request.user_key
        if key is None and user is None:
            return _nothing
        client = _Client(
            "" if key is None else digest(key),
            user,
            digest(request.auth_hash) if request.auth_hash else "",
            close,
        )
        if self._was_revoked(client, request.revocations_seen):
            self.closed_total += 1
            client.end()
            return _nothing
        if request.revocations_seen < self.revocations - len(self._latest):
            # More revocations have come since its session was loaded than this node remembers.
            close(CLOSE_SESSION_CHANGED, "try again")
            return _nothing
        if client.session:
            self._sessions.setdefault(client.session, set()).add(client)
        if client.user is not None:
            self._users.setdefault(client.user, set()).add(client)
        return lambda: self._remove(client)

    def is_revoked_session(self, key: str) -> bool:
        """Whether this session was revoked recently, even if it can still be loaded."""
        return bool(self._revoked_sessions) and digest(key) in self._revoked_sessions

    def take(self, message: str | bytes) -> None:
        """Close the clients that a revocation concerns; ignore a message that is not signed."""
        try:
            found = signing.loads(str(message), salt=_SALT)
        except signing.BadSignature:
            _log_unsigned("", "ignored a revocation that was not signed with this SECRET_KEY")
            return
        session, user, auth_hash = (found.get(name, "") for name in ("session", "user", "hash"))
        if session:
            if len(self._revoked_sessions) >= REMEMBERED:
                del self._revoked_sessions[next(iter(self._revoked_sessions))]
            self._revoked_sessions[session] = None
            clients = self._sessions.get(session, ())
        else:
            self.revocations += 1
            self._latest.append((self.revocations, user, auth_hash))
            clients = self._users.get(user, ())
        for client in tuple(clients):
            if not auth_hash or client.auth_hash != auth_hash:
                self._remove(client)
                self.closed_total += 1
                client.end()

    def _was_revoked(self, client: _Client, seen: int) -> bool:
        if client.session in self._revoked_sessions:
            return True
        if client.user is None or seen == self.revocations:
            return False
        return any(
            number > seen and user == client.user and (not changed or changed != client.auth_hash)
            for number, user, changed in self._latest
        )

    def _remove(self, client: _Client) -> None:
        for index, key in ((self._sessions, client.session), (self._users, client.user)):
            if not key:
                continue
            clients = index.get(key)
            if clients is not None:
                clients.discard(client)
                if not clients:
                    del index[key]


revocable_clients = RevocableClients()
"""Those of this process."""


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

    Saving a user must not fail when no cluster is running; other errors are logged.
    """
    signed = signing.dumps(revocation, salt=_SALT)

    publication = Publication(TOPIC, as_frame(signed))

    def publish() -> None:
        try:
            backends.current().publish(publication)
        except NotRunning:
            pass  # without a node there are no clients
        except Exception:
            _log.failure("a revocation could not be published")

    def publish_later() -> None:
        try:
            backends.current().publish_later(publication, _published)
        except NotRunning:
            pass
        except Exception:
            _log.failure("a revocation could not be published")

    # Asked without opening a connection: a logout may come from code that has no database.
    if transaction.get_connection(using).in_atomic_block:
        transaction.on_commit(publish_later, using=using, robust=True)
    else:
        publish()


def _published(answer: Counts | Exception) -> None:
    if isinstance(answer, Exception):
        _log.failure("a revocation could not be published", Failure(answer))


def _nothing() -> None:
    pass
