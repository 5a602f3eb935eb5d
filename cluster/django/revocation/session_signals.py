"""Receivers of Django's signals that end a session; the application's ``ready`` connects them.

=====================  ==============================================
signal                 revokes the clients of
=====================  ==============================================
user_logged_out        the session; with signed_cookies, of which no
                       server has a list, all sessions of the user
Session deleted        the session, unless it had expired
user saved             an inactive user; of another user, the clients
                       that came with another password
user deleted           the user
=====================  ==============================================

Each receiver is connected to one model. A receiver for all models would keep Django from deleting
rows of any model in a single query.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from cluster.django.revocation.revocable_clients import digest
from cluster.django.revocation.revocations import revoke, send

_COOKIES = "django.contrib.sessions.backends.signed_cookies"


def connect() -> None:
    """Connect to the models of this site. Idempotent."""
    user_logged_out.connect(_logged_out, dispatch_uid="c10k")
    if apps.is_installed("django.contrib.auth"):
        model = auth.get_user_model()
        for each in apps.get_models(include_auto_created=True):
            if issubclass(each, model):  # proxies and child models send their own signals
                post_save.connect(_user_saved, sender=each, dispatch_uid="c10k")
                post_delete.connect(_user_deleted, sender=each, dispatch_uid="c10k")
    model = _session_model()
    if model is not None:
        post_delete.connect(_session_deleted, sender=model, dispatch_uid="c10k")


@contextmanager
def only_expired_sessions() -> Iterator[None]:
    """Disconnect from the deletion of sessions, while this process deletes expired ones alone.

    With a receiver, Django would load each session before it deletes it.
    """
    model = _session_model()
    was_connected = post_delete.disconnect(sender=model, dispatch_uid="c10k") if model else False
    try:
        yield
    finally:
        if was_connected:
            post_delete.connect(_session_deleted, sender=model, dispatch_uid="c10k")


def _session_model() -> Any:
    """The model in which sessions are kept; None if they are kept elsewhere."""
    if not apps.is_installed("django.contrib.sessions"):
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore
    return store.get_model_class() if hasattr(store, "get_model_class") else None


def _logged_out(request: Any, user: Any, **kwargs: Any) -> None:
    if settings.SESSION_ENGINE == _COOKIES:
        if user is not None:
            revoke(user=user)
        return
    session = getattr(request, "session", None)
    if session is not None and session.session_key is not None:
        revoke(session_key=session.session_key)


def _session_deleted(instance: Any, using: str, **kwargs: Any) -> None:
    if instance.expire_date > timezone.now():
        revoke(session_key=instance.session_key, using=using)


def _user_saved(
    instance: Any, created: bool, raw: bool, using: str, update_fields: Any, **kwargs: Any
) -> None:
    if created or raw:
        return
    if update_fields is not None and not {"password", "is_active"}.intersection(update_fields):
        return
    if not getattr(instance, "is_active", True):
        revoke(user=instance, using=using)
    elif hasattr(instance, "get_session_auth_hash"):
        auth_hash = digest(instance.get_session_auth_hash())
        send({"user": str(instance.pk), "hash": auth_hash}, using)


def _user_deleted(instance: Any, using: str, **kwargs: Any) -> None:
    revoke(user=instance, using=using)
