"""The Django application: its management commands, static files, system checks and signals.

``"cluster.django"`` must stand before ``django.contrib.staticfiles`` in INSTALLED_APPS: both have a
``runserver``, and Django uses the first one.
"""

from django.apps import AppConfig


class ClusterConfig(AppConfig):
    """The application with the label ``c10k``."""

    name = "cluster.django"
    label = "c10k"
    verbose_name = "c10k"

    def ready(self) -> None:
        from cluster.django.api import topics
        from cluster.django.revocation import revocations, session_signals
        from cluster.django.revocation.revocable_clients import revocable_clients
        from cluster.django.system_checks import site_checks

        site_checks.register()
        session_signals.connect()
        topics.listen_from_start(
            revocations.TOPIC, revocable_clients.take, lost=revocable_clients.lost
        )
