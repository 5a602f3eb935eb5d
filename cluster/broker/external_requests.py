"""Requests of publishers that run on no machine of the cluster, as the broker handles them.

The engine hands each request to one machine. Its broker passes the request to one of its nodes
(node.publishing.external_requests), in turn, and the node's answer back to the gateway.
"""

from collections.abc import Callable, Iterable, Sequence

from cluster.core import wire
from cluster.core.wire.external_publisher import Closing, encode


class ExternalRequests:
    """Passes requests and answers on.

    Args:
        nodes: Returns the names of the live nodes of this machine.
        send: Sends a message to a node.
        answer: Called with a request's ID and the answer, core.machines' ``Gateway.answer``.

    ``passed_on`` counts the requests that nodes received.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[str]],
        send: Callable[[str, wire.Message], None],
        answer: Callable[[str, bytes], None],
    ) -> None:
        self.passed_on = 0
        self._nodes = nodes
        self._send = send
        self._answer = answer

    def received(self, requests: Iterable[tuple[str, bytes]]) -> None:
        """Pass requests, as (ID, data), to nodes. Without a node: publish on another machine."""
        for request_id, data in requests:
            nodes = self._nodes()
            if nodes:
                node = nodes[self.passed_on % len(nodes)]
                self.passed_on += 1
                self._send(node, wire.ExternalRequest(request_id, data))
            else:
                self._answer(request_id, encode(Closing()))

    def answered(self, message: wire.ExternalAnswer) -> None:
        """A node has answered a request."""
        self._answer(message.id, message.data)
