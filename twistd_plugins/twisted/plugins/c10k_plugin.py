"""The commands for ``twistd``, by name: modules are imported when a command is used."""

from twisted.application.service import ServiceMaker

c10k = ServiceMaker(
    "c10k",
    "cluster.cli.services.cluster",
    "A Django site with WebSockets, served by a cluster of processes.",
    "c10k",
)
c10k_node = ServiceMaker(
    "c10k-node",
    "cluster.cli.services.node",
    "One node of a c10k cluster, without a supervisor.",
    "c10k-node",
)
c10k_broker = ServiceMaker(
    "c10k-broker",
    "cluster.cli.services.broker",
    "The broker of a c10k cluster, without a supervisor.",
    "c10k-broker",
)
