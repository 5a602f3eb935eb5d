"""``manage.py clearsessions``: Django's own command, as fast as without c10k."""

import threading
from typing import Any

from django.contrib.sessions.management.commands.clearsessions import Command as Base

from cluster.django.revocation.session_signals import only_expired_sessions


class Command(Base):
    """Deletes expired sessions in one query, although the deletion of a session closes clients."""

    def handle(self, *args: Any, **options: Any) -> None:
        if threading.active_count() > 1:
            # Another thread may delete a session that is in use, and its clients must be closed.
            super().handle(**options)
            return
        with only_expired_sessions():
            super().handle(**options)
