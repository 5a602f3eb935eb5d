"""The common parts of `swarm`'s subcommands.

argument_types    types of command line arguments
options           the options that all subcommands have
limits            checks whether the limits of this machine are sufficient for a run
run               one run: limits, the reactor, Ctrl-C, exit status
"""
