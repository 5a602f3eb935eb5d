"""The ASGI application of a whole site: ``--asgi MODULE:NAME``, or C10K["ASGI"].

It serves what the URLconf has no handler and no feed for.
"""

from importlib import import_module

from django.urls import ResolverMatch

from cluster.asgi.scope import Application
from cluster.asgi.urlconf import Mount
from cluster.core.exceptions import ConfigurationError
from cluster.django.conf import is_application


def load_application(name: str, source: str) -> Application:
    """Import an application. Call it when Django is loaded.

    Args:
        name: ``"mysite.asgi:application"``, or with a dot in place of the colon.
        source: Names the option or the setting, for errors.

    Raises:
        ConfigurationError: It cannot be imported, or is no application.
    """
    module, _, attribute = name.replace(":", ".").rpartition(".")
    if not is_application(name):
        raise ConfigurationError(f"{source} must be MODULE:APPLICATION, not {name!r}")
    try:
        found = getattr(import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(f"{source} {name}: there is no module {module!r}") from None
    if not callable(found):
        raise ConfigurationError(
            f"{source} {name}: the module {module!r} has no application {attribute!r}"
        )
    application: Application = found
    return application


def match_of(application: Application) -> ResolverMatch:
    """What a URL leads to that the URLconf does not have."""
    return ResolverMatch(Mount(application).view(), (), {})
