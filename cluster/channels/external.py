"""Publishing in a process without a node: a management command, a task queue, a test."""

import asyncio

from cluster.django.api import backends
from cluster.django.api.publication import Publication
from cluster.django.api.publishing import publish_all, publish_or_raise
from cluster.django.external.backend import ExternalBackend


async def publish(topic: bytes, frame: bytes) -> int:
    """Publish through a running node; returns how many nodes subscribe.

    If no cluster is running, ``C10K["PUBLISH_WITHOUT_CLUSTER"]`` decides. Raises NotRunning,
    NotPublished or ConfigurationError.
    """
    publication = Publication(topic, frame)
    if isinstance(backends.current(), ExternalBackend):  # it waits for a socket
        receipt = await asyncio.to_thread(publish_all, [publication], immediate=True, using=None)
    else:
        receipt = publish_all([publication], immediate=True, using=None)
    return receipt.nodes


async def publish_if_running(topic: bytes, frame: bytes) -> int:
    """The same, but raises NotRunning if no cluster is running, whatever the setting says."""
    publication = Publication(topic, frame)
    if isinstance(backends.current(), ExternalBackend):
        return (await asyncio.to_thread(publish_or_raise, publication)).nodes
    return publish_or_raise(publication).nodes
