"""The backend of a process that is not a node.

It publishes through a node on this host, if a cluster of the site is running here. Otherwise it
uses the engine that the machines share, if ``C10K["BUS"]`` or the environment variable C10K_BUS
names one.
"""

import atexit
import os
from collections.abc import Callable
from typing import TypeVar

from cluster.core.exceptions import NotRunning
from cluster.core.wire.external_publisher import Publish
from cluster.django.api.publication import Counts, Done, Publication
from cluster.django.external.engine_publisher import EnginePublisher
from cluster.django.external.engine_requests import EngineRequests, is_bus_named
from cluster.django.external.node_lookup import chosen_port, find_clusters, site_name
from cluster.django.external.node_publisher import NodePublisher

Answer = TypeVar("Answer")


class ExternalBackend:
    """Publishes through a node of the user's running cluster, or through the engine."""

    def __init__(self, nodes: NodePublisher, engine: EnginePublisher) -> None:
        self._nodes = nodes
        self._engine = engine

    def check(self) -> None:
        self._first(lambda publisher: publisher.check())

    def publish(self, publication: Publication) -> Counts:
        message = _encodable(publication)
        return self._first(lambda publisher: publisher.publish(message))

    def publish_later(self, publication: Publication, done: Done) -> None:
        message = _encodable(publication)
        self._first(lambda publisher: publisher.publish_later(message, done))

    def _first(self, call: Callable[[NodePublisher | EnginePublisher], Answer]) -> Answer:
        """Call with the nodes of this host, or with the engine if no cluster is running here."""
        try:
            return call(self._nodes)
        except NotRunning:
            if not is_bus_named():
                raise
        return call(self._engine)


def _encodable(publication: Publication) -> Publish:
    topic, frame, kept, _ = publication
    return Publish(topic, frame, kept.depth, kept.lifetime)


_nodes = NodePublisher(find_clusters, chosen_port, site_name)
_engine = EnginePublisher(EngineRequests, site_name)
for _publisher in (_nodes, _engine):
    os.register_at_fork(after_in_child=_publisher.forget)
    atexit.register(_publisher.finish)
backend = ExternalBackend(_nodes, _engine)
"""The one of this process."""
