"""Who is connected, in Django's admin, with a button to disconnect.

The page asks the supervisor as ``c10k clients`` does. Users need the permission ``c10k |
connection | Can view connection`` to see it, and ``Can delete connection`` to disconnect.
"""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from cluster.core.exceptions import ClusterError
from cluster.django.models import Connection
from cluster.django.operations import operate

# Django's class takes no parameter at run time, as the stubs' class does for type checkers.
if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Connection]
else:
    _ModelAdmin = admin.ModelAdmin

FILTERS = ("user", "topic", "address", "path", "node")

LIMIT = 200
"""Clients on the page."""


@admin.register(Connection)
class ConnectionAdmin(_ModelAdmin):
    """The page with the clients."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List the clients; with POST, disconnect some of them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._disconnect(request)
        wanted = {name: value for name in FILTERS if (value := request.GET.get(name, "").strip())}
        found: dict[str, Any] = {"clients": [], "total": 0, "silent": []}
        try:
            found = operate("clients", limit=LIMIT, **wanted)
        except ClusterError as error:
            messages.error(request, str(error))
        context = {
            **self.admin_site.each_context(request),
            "title": "Connected clients",
            "opts": self.opts,
            "filters": [(name, wanted.get(name, "")) for name in FILTERS],
            "can_disconnect": self.has_delete_permission(request),
            **found,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/c10k/connection/change_list.html", context)

    def _disconnect(self, request: HttpRequest) -> HttpResponse:
        if not self.has_delete_permission(request):
            raise PermissionDenied
        count = 0
        try:
            for chosen in request.POST.getlist("client"):
                node, _, client = chosen.partition(" ")
                if client:
                    count += operate("disconnect", node=node, id=client)["disconnected"]
        except ClusterError as error:
            messages.error(request, str(error))
        else:
            clients = "1 client" if count == 1 else f"{count} clients"
            messages.success(request, f"Disconnected {clients}.")
        return HttpResponseRedirect(request.get_full_path())
