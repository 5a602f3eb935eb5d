"""Several machines: what the gateways of all machines agree on, and what one gateway decides.

The broker of each machine is its gateway. All gateways read one log, which an engine keeps, and
apply it to equal state machines in the same order. So they agree on nodes, subscriptions, presence,
barriers and retained topics. Batches of publications go to the inbox of one gateway.

engine         what the gateway and its shell exchange, and what the shell needs of an engine
"""
