"""The broker of one of several machines: the gateway of its nodes to those of the others.

Its state is a Gateway (core.machines), and an Uplink (cluster.uplink) carries what the gateway
decides to the engine and back. The broker

* passes batches for nodes of other machines to the gateway unopened;
* passes requests of publishers that run on no machine to its nodes in turn
  (node.publishing.external_requests), and their answers back;
* says goodbye to the other machines when it stops after its nodes. When it is replaced while they
  run, they stay known there until the next broker of the same owner takes over.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred

from cluster.broker.broker import Broker
from cluster.core import wire
from cluster.core.broker_state.exchange import Outgoing
from cluster.core.machines.engine import Batch, Deliveries
from cluster.core.machines.gateway import Gateway
from cluster.core.wire.external_publisher import Closing, encode
from cluster.net.bus_keys import BusKeys
from cluster.uplink.redis_engine import RedisEngine
from cluster.uplink.uplink import Uplink
from cluster.uplink.url import parse_bus_url


class UplinkService(Protocol):
    """What is used of cluster.uplink.uplink.Uplink."""

    def startService(self) -> object: ...

    def stopService(self) -> object: ...

    def wake(self) -> None:
        """The gateway has something to write."""

    def stats(self) -> dict[str, Any]: ...


class GatewayBroker(Broker):
    """A broker with an uplink; see Broker for its other arguments.

    Args:
        gateway: The state.
        make_uplink: Called with the function that takes what the gateway has for the nodes.
    """

    def __init__(
        self,
        address: str,
        reactor: Any,
        gateway: Gateway,
        make_uplink: Callable[[Callable[[Any], None]], UplinkService],
        keys: BusKeys | None = None,
        history: str = "",
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(address, reactor, keys, history, unix_time, gateway)
        self._gateway = gateway
        self._uplink = make_uplink(self.deliver)
        self._requests_passed_on = 0

    def startService(self) -> None:
        super().startService()
        if self.running:
            self._uplink.startService()

    def stopService(self) -> "Deferred[Any]":
        """Stop; fires when the engine knows it, or does not answer in time."""
        if not self.running:
            return maybeDeferred(lambda: None)
        stopped = maybeDeferred(self._uplink.stopService)
        super().stopService()
        return stopped

    # Messages of the nodes.

    def forward(self, origin: bytes, destination: bytes, data: bytes) -> bool:
        name = destination.decode("latin-1")  # no name of a node if it is not ASCII
        if not self._gateway.send_batch(origin.decode(), name, data):
            return False
        self._batches_forwarded += 1
        self._bytes_forwarded += len(data)
        self._uplink.wake()
        self._perform(self._gateway.take_notices())
        return True

    def process(self, node: str, message: wire.Message) -> Outgoing:
        if isinstance(message, wire.ExternalAnswer):
            self._answer(message.id, message.data)
            return []
        outgoing = super().process(node, message)
        self._uplink.wake()
        return outgoing

    def node_unreachable(self, node: bytes) -> None:
        super().node_unreachable(node)
        self._uplink.wake()

    def _answer(self, request_id: str, data: bytes) -> None:
        self._gateway.answer(request_id, data)
        self._uplink.wake()

    # From the uplink.

    def deliver(self, deliveries: Deliveries | Outgoing) -> None:
        """Send the nodes what the gateway has for them, in order."""
        if not self.running:  # the last turn is being written
            return
        self._know_nodes()
        if isinstance(deliveries, Deliveries):
            messages, external = deliveries
        else:
            messages, external = [*deliveries], []
        waiting: Outgoing = []
        for node, message in messages:
            if isinstance(message, Batch):
                self._perform(waiting)
                waiting = []
                self._send_batch(node.encode(), message)
            else:
                if isinstance(message, wire.UnknownNode):
                    self._asked.add(node.encode())
                waiting.append((node, message))
        self._perform(waiting)
        for request_id, data in external:
            self._pass_on(request_id, data)

    def _pass_on(self, request_id: str, data: bytes) -> None:
        nodes = self._gateway.nodes
        if not nodes:  # the publisher must use another machine
            self._answer(request_id, encode(Closing()))
            return
        node = nodes[self._requests_passed_on % len(nodes)]
        self._requests_passed_on += 1
        self._perform([(node, wire.ExternalRequest(request_id, data))])

    def _send_batch(self, node: bytes, batch: Batch) -> None:
        if node in self._known:
            self._send([node, wire.BATCH + batch.origin.encode(), batch.data])
        else:
            self._dropped["node_gone"] += 1

    def stats(self) -> dict[str, Any]:
        """Return the statistics for the metrics page; sizes are in bytes."""
        statistics, uplink = super().stats(), self._uplink.stats()
        state = {name: uplink[name] for name in ("machine", "state", "reason")}
        seconds = max(0.0, self._unix_time() - uplink["since"])
        return {
            **statistics,
            "messages_dropped": dict(self._dropped + Counter(uplink["dropped"])),
            "uplink": {**state, "seconds": seconds, "machines": list(uplink["machines"])},
            "uplink_joined": int(uplink["state"] == "joined"),
            "uplink_machines": len(uplink["machines"]),
            "uplink_queue_bytes": uplink["queued_bytes"],
            "uplink_round_trip_seconds": uplink["round_trip_ms"] / 1000,
            "uplink_turns": uplink["turns"],
            "uplink_bytes": uplink["bytes"],
            "uplink_reconnects": uplink["reconnects"],
            "uplink_generations": uplink["generation_changes"],
        }


def make_gateway(
    address: str,
    reactor: Any,
    uplink: Mapping[str, str],
    history: str = "",
    keys: BusKeys | None = None,
) -> GatewayBroker:
    """Return the broker of one of several machines.

    Args:
        address: Where it listens.
        reactor: A reactor on asyncio's event loop.
        uplink: The fields of a cluster.supervisor.config.UplinkConfig.
        history: The path of the file with the history; empty for none.
        keys: The keys of the broker, for tcp.
    """
    machine = uplink["machine"]
    gateway = Gateway(machine, os.urandom(8).hex())
    engine = RedisEngine(parse_bus_url(uplink["url"]), uplink["site"], machine)

    def make_uplink(deliver: Callable[[Any], None]) -> Uplink:
        owner, fingerprint = uplink["owner"], uplink["fingerprint"]
        return Uplink(engine, gateway, owner, fingerprint, deliver, reactor, machine)

    return GatewayBroker(address, reactor, gateway, make_uplink, keys, history)
