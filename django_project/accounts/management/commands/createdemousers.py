"""`manage.py createdemousers`: creates users and groups to try the demos with."""

import secrets
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from django_project import database

PEOPLE = {
    "ada": ("engineers", "mathematicians"),
    "alan": ("mathematicians",),
    "grace": ("engineers",),
}
"""User name -> groups."""

PASSWORD_BYTES = 9  # random bytes: 12 characters, too many to guess through a login page


class Command(BaseCommand):
    help = (
        "Create the users ada, alan and grace, and the groups engineers and mathematicians. "
        "Users that exist get a new password."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--password",
            help="one password for all (default: a random one for each, which is printed)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        database.prepare()
        for name, groups in PEOPLE.items():
            password = options["password"] or secrets.token_urlsafe(PASSWORD_BYTES)
            make_user(name, password, groups)
            shown = "" if options["password"] else f"  password {password}"
            self.stdout.write(f"{name:6}{shown}  ({', '.join(groups)})")


@transaction.atomic
def make_user(name: str, password: str, groups: tuple[str, ...]) -> None:
    """Create or update a user with this password, as a member of exactly these groups."""
    user, _ = User.objects.get_or_create(username=name)
    user.set_password(password)
    user.is_active = True
    user.save()
    user.groups.set(Group.objects.get_or_create(name=group)[0] for group in groups)
