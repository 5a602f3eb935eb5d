"""The clients of one node that revocations may concern, and which of them a revocation closes.

A revocation is JSON, signed with SECRET_KEY::

    {"session": digest}            the clients of this session
    {"user": pk}                   all of this user
    {"user": pk, "hash": digest}   all of this user that came with another password

with ``"at"``, the time when it was made (Unix milliseconds), and an ``"id"``. Session keys and
password hashes are sent and kept as keyed digests only.

A revocation usually arrives within milliseconds, and concerns the clients that are connected then.
It may arrive much later at a node that was cut off, and the user may have logged in again
meanwhile:

* a new session has another key, so a late revocation of a session closes the right clients only;
* of a user's clients, a late revocation closes those whose session was loaded before it was made.
  The times are those of two machines, so a client that is within MARGIN_MS of it may reconnect, and
  its session is checked again;
* each revocation is sent in two ways (revocations.py). The second one to arrive is ignored.

Two races are closed here. A client whose session is being loaded while a revocation arrives is
closed as soon as it is added, because a node remembers the latest revocations. And because Django
sends ``user_logged_out`` before it deletes the session, a session that was revoked stays revoked.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from django.core import signing
from django.utils.crypto import salted_hmac
from twisted.logger import Logger

from cluster.logs.rate_limit import LimitedLog

CLOSE_REVOKED = 4401
"""The session has ended: don't reconnect, ask the user to log in. (Compare HTTP's 401.)"""

CLOSE_SESSION_CHANGED = 1012
"""A session without a user has ended, as when a guest logs in: reconnect, with the new session."""

REASON = "the session has ended"

REMEMBERED = 10_000
"""Revocations that a node remembers: far more than arrive while a session is being loaded, or
between the signal of a logout and the deletion of its session."""

PROMPT_MS = 2_000
"""A revocation that is not older than this when it arrives concerns all clients that are connected:
it was not delayed by an interruption, only by a busy process."""

MARGIN_MS = 5_000
"""By how much the clocks of two machines may differ. Those that NTP sets differ by milliseconds."""

CLOSED_AT_ONCE = 200
"""Clients that are closed in one turn of the event loop when revocations may be lost."""

Close = Callable[[int, str], None]

_SALT = "c10k.revocation"
_log = Logger()
_log_unsigned = LimitedLog(_log.warn, "ignored revocations")


def digest(secret: str) -> str:
    """A digest keyed with SECRET_KEY, so that it is the same in all processes of the site."""
    return salted_hmac(_SALT, secret, algorithm="sha256").hexdigest()


def sign(revocation: dict[str, Any]) -> str:
    """The text of a revocation, as nodes take it."""
    return signing.dumps(revocation, salt=_SALT)


class _Revocation(NamedTuple):
    """``number``: the count of revocations of users when this one arrived, itself included."""

    number: int
    user: str
    auth_hash: str
    made_at: int
    """Unix milliseconds by the clock of the process that made it; 0 if it arrived promptly."""


class _Client:
    """A registered client; compared by identity."""

    __slots__ = ("auth_hash", "close", "loaded_at", "session", "user")

    def __init__(
        self, session: str, user: str | None, auth_hash: str, loaded_at: int, close: Close
    ) -> None:
        self.session = session
        self.user = user
        self.auth_hash = auth_hash
        self.loaded_at = loaded_at
        self.close = close

    def end(self) -> None:
        if self.user is None:
            self.close(CLOSE_SESSION_CHANGED, REASON)
        else:
            self.close(CLOSE_REVOKED, REASON)

    def end_by(self, revocation: _Revocation) -> bool:
        """Close this client of a revoked user, or return False if it may stay."""
        if revocation.auth_hash and revocation.auth_hash == self.auth_hash:
            return False
        earlier_ms = revocation.made_at - self.loaded_at if revocation.made_at else MARGIN_MS
        if earlier_ms < -MARGIN_MS:
            return False  # the user has logged in again
        if earlier_ms < MARGIN_MS:
            self.close(CLOSE_SESSION_CHANGED, REASON)
        else:
            self.end()
        return True


class RevocableClients:
    """The clients of one node that a revocation may concern. Belongs to the reactor thread.

    ``unix_time`` returns seconds.
    """

    def __init__(self, unix_time: Callable[[], float] = time.time) -> None:
        self.revocations = 0  # of users; sessions once revoked stay so
        self.closed_total = 0
        self.next_turn: Callable[[Callable[[], None]], object] = _next_turn
        """Makes a call in the next turn of the event loop."""
        self._unix_time = unix_time
        self._sessions: dict[str, set[_Client]] = {}
        self._users: dict[str, set[_Client]] = {}
        self._latest: deque[_Revocation] = deque(maxlen=REMEMBERED)
        self._revoked_sessions: dict[str, None] = {}
        self._taken: dict[str, None] = {}  # the signatures of the revocations that were taken

    def begin(self, request: Any) -> None:
        """Note which revocations precede the search for the request's session and user."""
        request.revocations_seen = self.revocations
        request.loaded_at = self._now()

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
            request.loaded_at,
            close,
        )
        if self._was_revoked(client, request.revocations_seen):
            self.closed_total += 1
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
        """Close the clients that a revocation concerns.

        Ignores one that was taken before, and one that is not signed.
        """
        signature = str(message).rpartition(":")[2]
        if signature in self._taken:
            return
        try:
            found = signing.loads(str(message), salt=_SALT)
        except signing.BadSignature:
            _log_unsigned("", "ignored a revocation that was not signed with this SECRET_KEY")
            return
        if "id" in found:  # else its signature may be that of an equal one
            _remember(self._taken, signature)
        session, user, auth_hash = (found.get(name, "") for name in ("session", "user", "hash"))
        if session:
            _remember(self._revoked_sessions, session)
            for client in tuple(self._sessions.get(session, ())):
                self._remove(client)
                self.closed_total += 1
                client.end()
            return
        self.revocations += 1
        made_at = found.get("at", 0)
        if self._now() - made_at <= PROMPT_MS:
            made_at = 0
        revocation = _Revocation(self.revocations, user, auth_hash, made_at)
        self._latest.append(revocation)
        for client in tuple(self._users.get(user, ())):
            if client.end_by(revocation):
                self._remove(client)
                self.closed_total += 1

    def lost(self) -> None:
        """Revocations did not reach this node: close all clients that one may concern.

        They reconnect, and their sessions are checked.
        """
        self.revocations += 1
        self._latest.clear()  # also those that are being accepted
        clients = {*chain.from_iterable((*self._sessions.values(), *self._users.values()))}
        if clients:
            _log.warn(
                "revocations may be lost: closed the {count} clients that have a session or a"
                " user, with 1012, so that they reconnect",
                count=len(clients),
            )
        self._close_some(iter(clients))

    def _close_some(self, clients: Iterator[_Client]) -> None:
        """Close some clients now, and the rest in the next turns of the event loop."""
        some = tuple(islice(clients, CLOSED_AT_ONCE))
        for client in some:
            if client in self._sessions.get(client.session, ()) or client in self._users.get(
                client.user or "", ()
            ):
                self._remove(client)
                self.closed_total += 1
                client.close(CLOSE_SESSION_CHANGED, "the session must be checked again")
        if some:
            self.next_turn(lambda: self._close_some(clients))

    def _was_revoked(self, client: _Client, seen: int) -> bool:
        """Close a client that was revoked since its session was loaded."""
        if client.session in self._revoked_sessions:
            client.end()
            return True
        if client.user is None or seen == self.revocations:
            return False
        return any(
            each.number > seen and each.user == client.user and client.end_by(each)
            for each in self._latest
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

    def _now(self) -> int:
        return int(self._unix_time() * 1000)


def _remember(known: dict[str, None], key: str) -> None:
    if len(known) >= REMEMBERED:
        del known[next(iter(known))]
    known[key] = None


def _next_turn(call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(call)


def _nothing() -> None:
    pass


revocable_clients = RevocableClients()
"""Those of this process."""
