"""``manage.py test``: Django's own command. What the tests publish stays in their process."""

from typing import Any

from django.core.management.commands.test import Command as DjangoCommand


class Command(DjangoCommand):
    """Installs the publish backend of tests, so that they reach no cluster that is running."""

    def handle(self, *args: Any, **options: Any) -> None:
        import cluster.testing  # noqa: F401 (it installs the backend)

        super().handle(*args, **options)
