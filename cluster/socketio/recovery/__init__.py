"""Connection state recovery: clients that come back receive what they have missed.

options            RecoveryOptions: for how long, and how much
records            the sessions of all nodes, as each node knows them
session            Session: what a socket needs so that its client can come back
continuation       whether a session can be continued, and with which events
event_log          the events of a namespace, in one order for all nodes
replay             sends a socket the events of the log that it has missed
receivers          receivers of a socket's packets until it has all of them
node_recovery      the sessions of the sockets of this node
published_records  what this node publishes of its sessions
other_nodes        signs of life, and records for nodes that begin
link               what these modules need of the server on this node

docs/topics/socketio-recovery.md explains how it works.
"""
