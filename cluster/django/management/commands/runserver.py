"""``manage.py runserver [ADDRPORT]``: Django's command, with a node as its server."""

from typing import TYPE_CHECKING, Any

from django.apps import apps

from cluster.cli.runserver import DevelopmentServer

if TYPE_CHECKING or not apps.is_installed("django.contrib.staticfiles"):
    from django.core.management.commands.runserver import Command as Base
else:
    from django.contrib.staticfiles.management.commands.runserver import Command as Base


class Command(Base):
    """Starts a node in place of Django's development server."""

    help = "Serves the site and its WebSockets with one node in this process, for development."
    server_cls: Any = DevelopmentServer  # Django calls it as its WSGIServer
