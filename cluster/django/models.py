"""Connection: the clients of the cluster, for Django's admin. It has no table."""

from django.db import models


class Connection(models.Model):
    """A client that is connected now. Its permissions: to view clients, and to disconnect them."""

    class Meta:
        managed = False
        default_permissions = ("view", "delete")
