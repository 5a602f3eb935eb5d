"""The ``c10k`` command: operates clusters from a shell.

main            parses the command line, and runs the subcommand
control_client  declares a command for a running cluster, and sends it to the supervisor
output          tables, sizes and durations
clients         c10k clients and kick: the connected clients
keygen          c10k keygen: makes the keys of a broker and its nodes
logs            c10k logs and events: what happened
publish         c10k publish: publishes a message
restart         c10k restart: replaces the processes one after the other
scaling         c10k drain and scale: which nodes a cluster has, and how many
status          c10k status, nodes and top: the state of the cluster and of its processes
topics          c10k topics: the topics with the most subscribers
"""
