"""System checks: what ``manage.py check`` says about a site, and ``check --deploy`` besides.

The first look at what is wrong in any case, and run before every ``runserver``; the others are in
deploy_checks.py. docs/reference/commands.md lists them all.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from cluster.django import conf
from cluster.django.deploy_checks import DEPLOY_CHECKS


def register() -> None:
    """Make Django run all of them."""
    checks.register(check_setting)
    checks.register(check_permission)
    checks.register(check_application_order)
    for check in DEPLOY_CHECKS:
        checks.register(check, checks.Tags.security, deploy=True)


def check_setting(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E001: what keeps the cluster from starting."""
    return [
        checks.Error(problem, hint="See docs/reference/settings.md.", id="c10k.E001")
        for problem in conf.check(getattr(settings, "C10K", {}))
    ]


def check_permission(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """E002: every handshake with an audience would be answered 500."""
    given = getattr(settings, "C10K", {})
    path = given.get("AUDIENCE_PERMISSION") if isinstance(given, Mapping) else None
    if not isinstance(path, str) or not path:
        return []  # nothing is named, or E001 has said what is wrong
    try:
        function = import_string(path)
    except ImportError as error:
        problem = f"cannot be imported: {error}"
    else:
        if callable(function):
            return []
        problem = f"is no function, but {function!r}"
    return [
        checks.Error(
            f"C10K['AUDIENCE_PERMISSION'] {problem}",
            hint="Name a function by its dotted path, as in docs/reference/audiences.md.",
            id="c10k.E002",
        )
    ]


def check_application_order(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """W001: another application's runserver would be found first."""
    from django.apps import apps

    names = [config.name for config in apps.get_app_configs()]
    static = "django.contrib.staticfiles"
    if static not in names or names.index("cluster.django") < names.index(static):
        return []
    return [
        checks.Warning(
            f"{static} stands before cluster.django in INSTALLED_APPS, so that its runserver is"
            " used, which serves no WebSockets.",
            hint="Move 'cluster.django' up.",
            id="c10k.W001",
        )
    ]
