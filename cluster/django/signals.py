"""Django's signals that end a session, connected by the application's ``ready``.

=====================  ==============================================
user_logged_out        this session; all of the user's, where sessions
                       are cookies that no server knows
Session deleted        this session, unless it had expired
user saved             all of the user's if it is inactive, or those
                       that came with another password
user deleted           all of the user's
=====================  ==============================================

Receivers are connected to the very models: one for all models would cost every bulk deletion of
the site its short cut.
"""

from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import auth
from django.contrib.auth.signals import user_logged_out
from django.db.models.signals import post_delete, post_save
from django.utils import timezone

from cluster.django.revocation import digest, revoke, send

_COOKIES = "django.contrib.sessions.backends.signed_cookies"


def connect() -> None:
    """Connect to the models of this site; more than once is harmless."""
    user_logged_out.connect(_logged_out, dispatch_uid="c10k")
    if apps.is_installed("django.contrib.auth"):
        model = auth.get_user_model()
        for each in apps.get_models(include_auto_created=True):
            if issubclass(each, model):  # proxies and children send signals of their own
                post_save.connect(_user_saved, sender=each, dispatch_uid="c10k")
                post_delete.connect(_user_deleted, sender=each, dispatch_uid="c10k")
    if apps.is_installed("django.contrib.sessions"):
        store = import_module(settings.SESSION_ENGINE).SessionStore
        if hasattr(store, "get_model_class"):
            post_delete.connect(
                _session_deleted, sender=store.get_model_class(), dispatch_uid="c10k"
            )


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
