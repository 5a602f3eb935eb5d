"""``manage.py runserver [ADDRPORT]``: Django's own command, with a node for its server."""

from typing import Any

from django.apps import apps

from cluster.cli.runserver import DevelopmentServer

Base: Any
if apps.is_installed("django.contrib.staticfiles"):
    from django.contrib.staticfiles.management.commands.runserver import Command as Base
else:
    from django.core.management.commands.runserver import Command as Base


class Command(Base):
    """Only the server is another one."""

    help = "Serves the site and its WebSockets by one node in this process, for development."
    server_cls = DevelopmentServer
