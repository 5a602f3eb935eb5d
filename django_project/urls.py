"""Each demo app under the path that its pages and sockets are known by."""

from django.urls import include, path

urlpatterns = [
    path("", include("django_project.gameoflife.urls")),
    path("", include("django_project.echo.urls")),
]
