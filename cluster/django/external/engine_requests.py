"""The engine that the machines of the site share, as EnginePublisher uses it.

The settings or the environment name it. redis-py is loaded when it is needed: a site on one machine
does not have it.
"""

import os

from cluster.core.exceptions import ClusterError, ConfigurationError, NotPublished, NotRunning
from cluster.core.machines.engine import EngineError, EngineUnusable, NoAnswer, NoMachine
from cluster.django.conf_machines import bus_of, is_uplink, site_name
from cluster.django.external.unanswered import uncertain


def is_bus_named() -> bool:
    """Whether the site's machines share an engine, so that this process can publish through it."""
    return is_uplink(_bus()[0])


class EngineRequests:
    """Requests through the engine, with errors of this package: see engine_publisher.Asks.

    Raises ConfigurationError if the URL is wrong or redis-py is missing.
    """

    def __init__(self) -> None:
        from django.conf import settings

        from cluster.django import conf

        text, source = _bus()
        try:
            from cluster.uplink.requests import RequestConnection
            from cluster.uplink.url import parse_bus_url
        except ModuleNotFoundError:
            raise ConfigurationError(
                f"{source} needs redis-py: pip install 'django-c10k[redis]'"
            ) from None
        url = parse_bus_url(text, source)
        # None after settings.configure() and under override_settings.
        module = settings.SETTINGS_MODULE or os.environ.get("DJANGO_SETTINGS_MODULE", "")
        name = site_name(conf.load(), module)
        if not name:
            raise ConfigurationError("C10K['SITE'] must name the site: there is no settings module")
        self._where = f"Redis at {url}"
        self._connection = RequestConnection(url, name)

    def ask(self, request_id: str, data: bytes, prefer: str, deadline: float) -> tuple[bytes, str]:
        try:
            return self._connection.ask(request_id, data, prefer, deadline)
        except EngineError as error:
            raise self._error_of(error) from None

    def check(self, deadline: float) -> None:
        try:
            self._connection.check(deadline)
        except EngineError as error:
            raise self._error_of(error) from None

    def close(self) -> None:
        self._connection.close()

    def _error_of(self, error: EngineError) -> ClusterError:
        if isinstance(error, NoMachine):
            return NotRunning(f"no machine of this site is connected to {self._where}")
        if isinstance(error, NoAnswer):
            reason = f" ({error})" if str(error) else ""
            return uncertain(f"{self._where}: no machine answered{reason}")
        if isinstance(error, EngineUnusable):
            return ConfigurationError(f"{self._where}: {error}")
        return NotPublished(f"{self._where}: {error}")


def _bus() -> tuple[str, str]:
    from cluster.django import conf

    return bus_of(conf.load(), os.environ)
