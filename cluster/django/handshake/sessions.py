"""Whose cookie it is: session and user of a request, as Django's middleware would have found them.

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
from cluster.django.revocation import registry


def are_used() -> bool:
    """Whether this site has sessions at all: the application, or a session middleware."""
    if apps.is_installed("django.contrib.sessions"):
        return True
    from django.contrib.sessions.middleware import SessionMiddleware

    middleware = (import_string(name) for name in settings.MIDDLEWARE)
    return any(
        isinstance(each, type) and issubclass(each, SessionMiddleware) for each in middleware
    )


def may_have_one(cookies: str | None) -> bool:
    """Whether a Cookie header is worth a look; false positives are no harm."""
    return cookies is not None and settings.SESSION_COOKIE_NAME in cookies


def load(request: ReactorRequest) -> None:
    """Set the request's session and user from its cookie. Blocks; raises the database's errors."""
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key:
        return
    request.revocations_seen = registry.revocations
    if registry.is_revoked_session(key):
        return
    session = type(request.session)(key)
    if not session.keys():  # this loads it; one without anything in it is nobody's
        return
    request.session = session
    request.session_cookie = key
    if apps.is_installed("django.contrib.auth"):
        user = _user_of(session)
        if user is not None:
            request.user = user
            if hasattr(user, "get_session_auth_hash"):
                request.auth_hash = user.get_session_auth_hash()


def _user_of(session: Any) -> Any:
    """Like auth.get_user, which however flushes or renews sessions; None for nobody."""
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
