"""The game's page at the root, and its WebSockets."""

from django.urls import path

from django_project.gameoflife import handlers, views

app_name = "gameoflife"

urlpatterns = [
    path("", views.page, name="page"),
    path("reset/", handlers.reset, name="reset"),
    path("worker/", handlers.worker, name="worker"),
    path("watcher/", handlers.watcher, name="watcher"),
]
