"""The game's page, mounted at the root."""

from django.urls import path

from django_project.gameoflife import views

app_name = "gameoflife"

urlpatterns = [
    path("", views.page, name="page"),
]
