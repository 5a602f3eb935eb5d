"""System checks of ``manage.py check``, which also ``runserver`` and ``migrate`` run.

They find what is wrong on any machine. docs/reference/commands.md lists all checks.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from cluster.django import conf
from cluster.django.system_checks.bus_checks import BUS_CHECKS
from cluster.django.system_checks.deploy_checks import DEPLOY_CHECKS


def register() -> None:
    """Register all checks with Django."""
    checks.register(check_setting)
    checks.register(check_permission)
    checks.register(check_application_order)
    checks.register(check_skipped_middleware)
    for check in (*DEPLOY_CHECKS, *BUS_CHECKS):
        checks.register(check, checks.Tags.security, deploy=True)


def check_setting(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E001: errors in the C10K setting, with which the cluster does not start."""
    return [
        checks.Error(
            problem, hint="The documentation lists all keys: reference, settings.", id="c10k.E001"
        )
        for problem in conf.check(getattr(settings, "C10K", {}))
    ]


def check_permission(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E002: a permission function that cannot be called. Audiences would be answered 500."""
    given = getattr(settings, "C10K", {})
    path = given.get("AUDIENCE_PERMISSION") if isinstance(given, Mapping) else None
    if not isinstance(path, str) or not path:
        return []  # there is none, or E001 reports it
    try:
        function = import_string(path)
    except ImportError as error:
        problem = f"cannot be imported: {error}"
    else:
        if callable(function):
            return []
        problem = f"is not a function: {function!r}"
    return [
        checks.Error(
            f"C10K['AUDIENCE_PERMISSION'] {problem}",
            hint="Name a function by its dotted path: 'mysite.permissions.audiences'.",
            id="c10k.E002",
        )
    ]


def check_application_order(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W001: Django would use the runserver of another application."""
    from django.apps import apps

    names = [config.name for config in apps.get_app_configs()]
    static = "django.contrib.staticfiles"
    if static not in names or names.index("cluster.django") < names.index(static):
        return []
    return [
        checks.Warning(
            f"{static} stands before cluster.django in INSTALLED_APPS, so Django uses its"
            " runserver, which does not serve WebSockets.",
            hint="Move 'cluster.django' up.",
            id="c10k.W001",
        )
    ]


def check_skipped_middleware(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W012: a name in SKIP_MIDDLEWARE that skips nothing."""
    given = getattr(settings, "C10K", {})
    if conf.check(given):
        return []  # E001 reports it
    return [
        checks.Warning(
            f"C10K['SKIP_MIDDLEWARE'] has {path!r}, which is not in MIDDLEWARE.",
            hint="Write it as in MIDDLEWARE.",
            id="c10k.W012",
        )
        for path in given.get("SKIP_MIDDLEWARE", ())
        if path not in settings.MIDDLEWARE
    ]
