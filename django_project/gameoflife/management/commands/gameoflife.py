"""`manage.py gameoflife`: the same as `swarm life`, from a Django project."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from workers.life import command as life_command


class Command(BaseCommand):
    help = life_command.DESCRIPTION

    def add_arguments(self, parser: CommandParser) -> None:
        life_command.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(life_command.run(options))
