"""Receipt: what is known of a publication."""

from dataclasses import dataclass


@dataclass(slots=True)
class Receipt:
    """How many subscribers a message was queued to. You do not create one yourself.

    The receipt of a message that waits for the commit of a transaction is pending, and its counts
    are 0. They are filled in when the message has been sent; nothing waits for that. After a
    rollback the receipt stays pending. Publish with ``immediate=True`` to know the counts at once.

    A node counts as soon as it has one subscriber. The subscribers of other nodes are not counted
    one by one: their nodes alone know how many there are.

    Attributes:
        nodes: The nodes of the whole cluster that have subscribers.
        connections_here: The subscribed connections of one node: the one that published.
        pending: Whether the message has not been sent yet.
    """

    nodes: int = 0
    connections_here: int = 0
    pending: bool = False


def count(receipt: Receipt, nodes: int, connections_here: int) -> None:
    """Add the counts of one more message to a receipt."""
    receipt.nodes = max(receipt.nodes, nodes)
    receipt.connections_here += connections_here
