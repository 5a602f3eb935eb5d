"""What the subcommands of `swarm` share.

argument_types    types of command line arguments
reactor_run       common options, one run of the reactor, Ctrl-C, exit status
run               the run of `swarm echo`, `idle`, `broadcast` and `storm`
"""
