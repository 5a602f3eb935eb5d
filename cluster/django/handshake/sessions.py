"""The session and the user of a request, as Django's middleware would have found them.

A client without a session cookie costs nothing. With one, ``load`` runs in a database thread. It
reads and never writes: a handshake must not flush or renew the session that the browser's other
requests use.
"""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import auth
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string

from cluster.django.handshake.requests import ReactorRequest
from cluster.django.revocation.revocable_clients import revocable_clients


def are_used() -> bool:
    """Whether this site has sessions at all: the application, or session middleware."""
    if apps.is_installed("django.contrib.sessions"):
        return True
    from django.contrib.sessions.middleware import SessionMiddleware

    middleware = (import_string(name) for name in settings.MIDDLEWARE)
    return any(
        isinstance(each, type) and issubclass(each, SessionMiddleware) for each in middleware
    )


def may_have_one(cookies: str | None) -> bool:
    """Whether a Cookie header may have a session's key; a false positive costs a thread's time."""
    return cookies is not None and settings.SESSION_COOKIE_NAME in cookies


def begin(request: ReactorRequest) -> None:
    """Note which revocations precede the search for the request's user."""
    revocable_clients.begin(request)


def load(request: ReactorRequest) -> None:
    """Set the request's session and user from its cookie. Blocks; raises the database's errors."""
    begin(request)
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key or revocable_clients.is_revoked_session(key) or not are_used():
        return
    session = type(request.session)(key)
    if not session.keys():  # loads it; there is no such session, or it has no content
        return
    request.session = session
    request.session_cookie = key
    if apps.is_installed("django.contrib.auth"):
        user = _user_of(session)
        if user is not None:
            request.user = user
            note_user(request)


def note_user(request: ReactorRequest) -> None:
    """Evaluate ``request.user``, which may be a lazy object of middleware, and keep its auth hash.

    Blocks. A client is closed when its user gets another password.
    """
    user = request.noted_user = vars(request).get("user")
    request.auth_hash = ""
    if user is not None and user.is_authenticated and hasattr(user, "get_session_auth_hash"):
        request.auth_hash = user.get_session_auth_hash()


def is_noted(request: ReactorRequest) -> bool:
    """Whether ``request.user`` is the one of ``note_user``, and not another one set later."""
    return vars(request).get("user") is request.noted_user


def _user_of(session: Any) -> Any:
    """Like auth.get_user, but without its flushing or renewing of sessions."""
    try:
        user_id = auth.get_user_model()._meta.pk.to_python(session[auth.SESSION_KEY])
        backend_path = session[auth.BACKEND_SESSION_KEY]
    except KeyError:
        return None
    if backend_path not in settings.AUTHENTICATION_BACKENDS:
        return None
    user = auth.load_backend(backend_path).get_user(user_id)
    if user is None or not hasattr(user, "get_session_auth_hash"):
        return user
    given = session.get(auth.HASH_SESSION_KEY, "")
    fallbacks = getattr(user, "get_session_auth_fallback_hash", lambda: ())
    if any(
        constant_time_compare(given, each) for each in (user.get_session_auth_hash(), *fallbacks())
    ):
        return user
    return None
