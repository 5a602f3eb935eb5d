"""``manage.py clearsessions``: Django's own command, as quick as it is without us."""

import threading
from typing import Any

from django.contrib.sessions.management.commands.clearsessions import Command as Base

from cluster.django.session_signals import only_expired_sessions


class Command(Base):
    """Deletes expired sessions by one query, although the deletion of others closes sockets."""

    def handle(self, *args: Any, **options: Any) -> None:
        if threading.active_count() > 1:
            # Another thread may delete a session that somebody uses, and that must be heard.
            super().handle(**options)
            return
        with only_expired_sessions():
            super().handle(**options)
