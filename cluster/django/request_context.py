"""What is active for a request: its language, time zone, URLconf, and context variables.

Middleware activates them in a database thread; the handler runs on the reactor, and what it gives
to ain_database in another thread. Django keeps the language (``translation.activate``), the time
zone (``timezone.activate``) and the URLconf in ``asgiref.Local`` objects, whose values are not
visible in another thread. So they are read in one thread and activated again in the other.

State that belongs to one thread alone (threading.local, a database connection) cannot be kept.
"""

from contextvars import Context, ContextVar, copy_context
from datetime import tzinfo
from typing import Any, Self

from django.conf import settings
from django.urls import get_urlconf, set_urlconf
from django.utils import timezone, translation


class RequestContext:
    """Made by ``capture``; holds what differs from the process's defaults."""

    __slots__ = ("_language", "_time_zone", "_urlconf", "_variables")

    def __init__(
        self,
        language: str | None,
        time_zone: tzinfo | None,
        urlconf: Any,
        variables: list[tuple[ContextVar[Any], Any]],
    ) -> None:
        self._language = language
        self._time_zone = time_zone
        self._urlconf = urlconf
        self._variables = variables

    @classmethod
    def capture(cls, before: Context | None = None) -> Self:
        """What is active in this thread and context.

        Args:
            before: An earlier context: variables that have changed since then are part of it.
                Without one, variables are left to ``copy_context``.
        """
        language, time_zone = translation.get_language(), timezone.get_current_timezone()
        variables = [] if before is None else list(copy_context().items())
        return cls(
            None if language == settings.LANGUAGE_CODE else language,
            None if time_zone == timezone.get_default_timezone() else time_zone,
            get_urlconf(),
            [
                (variable, value)
                for variable, value in variables
                if before is not None and before.get(variable, _UNSET) is not value
            ],
        )

    def activate(self) -> None:
        """Make it active in the current context."""
        for variable, value in self._variables:
            variable.set(value)
        # After the variables: among them are Django's own, which hold for the other thread.
        if self._language is not None:
            translation.activate(self._language)
        if self._time_zone is not None:
            timezone.activate(self._time_zone)
        if self._urlconf is not None:
            set_urlconf(self._urlconf)

    def for_task(self) -> Context:
        """A copy of the current context in which it is active."""
        context = copy_context()
        context.run(self.activate)
        return context


_UNSET = object()
