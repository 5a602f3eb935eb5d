"""The consumers of competitors.channels_site, and handlers that do the same."""

from django.urls import path

from benchmarks.competitors.channels_site import application
from cluster.asgi import asgi
from django_project.echo.handlers import broadcast, echo

urlpatterns = [
    path("handlers/echo/", echo),
    path("handlers/broadcast/<slug:name>/", broadcast),
    path("", asgi(application)),
]
