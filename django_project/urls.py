"""The URLs of the demo apps."""

from django.urls import include, path

from django_project import views

urlpatterns = [
    path("demos/", views.demos, name="demos"),
    path("", include("django_project.accounts.urls")),
    path("", include("django_project.gameoflife.urls")),
    path("", include("django_project.echo.urls")),
    path("", include("django_project.chat.urls")),
    path("", include("django_project.socketio.urls")),
    path("", include("django_project.live.urls")),
    path("", include("django_project.audiences.urls")),
    path("", include("django_project.consumers.urls")),
    path("", include("django_project.topology.urls")),
]
