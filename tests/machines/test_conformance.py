"""The tests that every bus must pass, once for each bus."""

from tests.machines.bus_sites import LocalSite, ZmqSite
from tests.machines.conformance import Conformance, NodesConformance
from tests.machines.model_site import ModelSite
from tests.machines.redis_site import RedisSite, ValkeySite
from tests.once import once


class LocalTests(LocalSite, Conformance):
    """One node without a broker."""


class ZmqTests(ZmqSite, NodesConformance):
    """Nodes of one machine."""


class ModelTests(ModelSite, NodesConformance):
    """Nodes of two machines, without sockets."""


@once
class RedisTests(RedisSite, NodesConformance):
    """Nodes of two machines on Redis, as they are in production."""


@once
class ValkeyTests(ValkeySite, NodesConformance):
    """The same on Valkey."""


del Conformance, NodesConformance  # they have no bus
