"""The tests that every bus must pass, once for each bus."""

from tests.machines.conformance import Conformance, NodesConformance
from tests.machines.model_places import ModelPlaces
from tests.machines.places import LocalPlaces, ZmqPlaces
from tests.machines.redis_places import RedisPlaces, ValkeyPlaces


class LocalTests(LocalPlaces, Conformance):
    """One node without a broker."""


class ZmqTests(ZmqPlaces, NodesConformance):
    """Nodes of one machine."""


class ModelTests(ModelPlaces, NodesConformance):
    """Nodes of two machines, without sockets."""


class RedisTests(RedisPlaces, NodesConformance):
    """Nodes of two machines on Redis, as they are in production."""


class ValkeyTests(ValkeyPlaces, NodesConformance):
    """The same on Valkey."""


del Conformance, NodesConformance  # they have no bus
