"""What the subcommands of `swarm` share.

argument_types    types of command line arguments
options           the options that all subcommands have
limits            whether the limits of this machine are enough for a run
run               one run: limits, the reactor, Ctrl-C, output, exit status
"""
