"""Several machines: what the gateways of all machines agree on, and what one gateway decides.

The broker of each machine is its gateway. All gateways read one log, which an engine keeps, and
apply it to equal state machines in the same order. So they agree on nodes, subscriptions, presence,
barriers and retained topics. Batches of publications go to the inbox of one gateway.

::

    nodes -- messages --> gateway -- turns --> engine -- entries --> gateways -- messages --> nodes

gateway             Gateway: puts the rest together, for the broker and a shell around an engine
engine              what the gateway and its shell exchange, and what the shell needs of an engine
local_nodes         the nodes of this machine, as they know each other
remote_view         what they receive about the nodes of other machines
replica             Replica: the agreed state of one gateway, from hello on
agreed_state        AgreedState: an Exchange and the Membership, changed by the log only
membership          Membership: who is ready, and who sends a snapshot
joining             Joining: how a member gets the agreed state
snapshot_transfer   a snapshot in pieces
inbox               Inbox: what others send to this gateway; batches that wait for the log
turn_queue          TurnQueue: what waits to be written, in turns
inbox_queue         InboxQueue: what waits for one other machine
encodings/          payloads and values <-> bytes
names               names of nodes and members
expiry              times by the engine's clock and by this machine's
"""
