"""Clients whose session or user is no longer what it was are closed, on every node.

Each node keeps a ``registry`` of its clients that came with a session. Whoever ends a session, in
whatever process, publishes a revocation (signals.py does so for Django's own signals), and every
node closes the clients that it concerns. A revocation is JSON, signed with SECRET_KEY::

    {"session": digest}            this session
    {"user": pk}                   all of this user
    {"user": pk, "hash": digest}   all of this user whose password was another one

Session keys and password hashes travel and are kept as keyed digests only.

Two races are closed here. A client whose session is being loaded while the revocation comes is
closed as soon as it is added, because the registry knows the latest revocations. And as Django
sends ``user_logged_out`` before it deletes the session, a session once revoked stays so.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from django.core import signing
from django.db import transaction
from django.utils.crypto import salted_hmac
from twisted.logger import Logger

from cluster.core.exceptions import NotRunning
from cluster.django.api import publishing

CLOSE_REVOKED = 4401
"""The session has ended: don't reconnect, ask the user to log in. (As HTTP's 401.)"""

CLOSE_SESSION_CHANGED = 1012
"""A session without a user is gone, as when a guest logs in: reconnect with that of now."""

REASON = "the session has ended"

TOPIC = b"c10k/revocations"

REMEMBERED = 10_000
"""Revocations a node remembers: far more than come while one session is being loaded, and than
come within the moment between a logout's signal and the deletion of its session."""

Close = Callable[[int, str], None]

_SALT = "c10k.revocation"
_log = Logger()


def digest(secret: str) -> str:
    """A keyed digest: useless to who sees it, the same in all processes of the site."""
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


class Registry:
    """The clients of one node that a revocation may concern. Belongs to the reactor thread."""

    def __init__(self) -> None:
        self.revocations = 0  # of users; sessions once revoked stay so
        self.closed_total = 0
        self._sessions: dict[str, set[_Client]] = {}
        self._users: dict[str, set[_Client]] = {}
        self._latest: deque[tuple[int, str, str]] = deque(maxlen=REMEMBERED)
        self._revoked_sessions: dict[str, None] = {}

    def add(self, request: Any, close: Close) -> Callable[[], None]:
        """Have ``close(code, reason)`` called when the request's session or user is revoked.

        ``request`` comes from load_request. Returns what the caller must call when the client has
        gone; calling it again is harmless. A client without a session costs nothing.
        """
        key = request.session_cookie
        if key is None:
            return _nothing
        client = _Client(
            digest(key),
            request.user_key,
            digest(request.auth_hash) if request.auth_hash else "",
            close,
        )
        if self._was_revoked(client, request.revocations_seen):
            self.closed_total += 1
            client.end()
            return _nothing
        if request.revocations_seen < self.revocations - len(self._latest):
            close(CLOSE_SESSION_CHANGED, "try again")  # nobody knows what it missed
            return _nothing
        self._sessions.setdefault(client.session, set()).add(client)
        if client.user is not None:
            self._users.setdefault(client.user, set()).add(client)
        return lambda: self._remove(client)

    def is_revoked_session(self, key: str) -> bool:
        """Whether this session was ended lately, even if it can still be loaded."""
        return bool(self._revoked_sessions) and digest(key) in self._revoked_sessions

    def take(self, message: str | bytes) -> None:
        """A revocation from any process: close whom it concerns; anything else is ignored."""
        try:
            found = signing.loads(str(message), salt=_SALT)
        except signing.BadSignature:
            _log.warn("ignored a revocation that was not signed with this SECRET_KEY")
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
            if key is None:
                continue
            clients = index.get(key)
            if clients is not None:
                clients.discard(client)
                if not clients:
                    del index[key]


registry = Registry()
"""The one of this process."""


def revoke(*, user: Any = None, session_key: str | None = None, using: str | None = None) -> None:
    """Close all clients of a user, or of a session, on every node; from any thread or process.

    Django's signals do this for logouts, deleted sessions and users, deactivation and new
    passwords. Call it after what sends no signal: ``QuerySet.update``, a session in a cache that is
    deleted by its key. Inside a transaction it takes effect on commit. ``user`` is a user or its
    primary key.
    """
    if user is not None:
        send({"user": str(getattr(user, "pk", user))}, using)
    if session_key is not None:
        send({"session": digest(session_key)}, using)


def send(revocation: dict[str, str], using: str | None = None) -> None:
    """Publish a revocation when the transaction on ``using``, if there is one, commits.

    Whoever saves a user must not fail because no cluster runs; other failures are logged.
    """
    signed = signing.dumps(revocation, salt=_SALT)

    def publish() -> None:
        try:
            publishing.publish(TOPIC, signed, retain=0, immediate=True)
        except NotRunning:
            pass  # no node, so no clients
        except Exception:
            _log.failure("a revocation could not be published")

    # Asked without opening a connection: a logout may come from code that has no database.
    if transaction.get_connection(using).in_atomic_block:
        transaction.on_commit(publish, using=using, robust=True)
    else:
        publish()


def _nothing() -> None:
    pass
