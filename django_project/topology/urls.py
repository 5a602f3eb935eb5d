from django.urls import path

from django_project.topology import handlers, views

app_name = "topology"

urlpatterns = [
    path("cluster/", views.page, name="page"),
    path("cluster/status/", views.status, name="status"),
    path("cluster/kill/", views.kill, name="kill"),
    path("cluster/play/", views.play, name="play"),
    path("cluster/owners/", handlers.owners, name="owners"),
]
