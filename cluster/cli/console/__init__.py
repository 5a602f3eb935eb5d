"""The ``c10k`` command: operates clusters from a shell.

main            parses the command line, and runs the subcommand
control_client  sends a command to the supervisor of a running cluster
keygen          c10k keygen: makes the keys of a broker and its nodes
restart         c10k restart: replaces the processes one after the other
scaling         c10k drain and scale: which nodes a cluster has, and how many
"""
