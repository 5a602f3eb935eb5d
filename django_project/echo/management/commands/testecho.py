"""`manage.py testecho`: the same as `swarm echo`, from a Django project."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from workers.load import echo_command


class Command(BaseCommand):
    help = echo_command.DESCRIPTION

    def add_arguments(self, parser: CommandParser) -> None:
        echo_command.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(echo_command.run(options))
