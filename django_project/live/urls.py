from django.urls import path

from django_project.live import handlers, views

app_name = "live"

urlpatterns = [
    path("live/", views.page, name="page"),
    path("live/ws/", handlers.raw, name="socket"),
    path("live/events/", handlers.events, name="events"),
]
