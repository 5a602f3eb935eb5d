"""The ``c10k`` command: operates clusters from a shell.

main        parses the command line, and runs the subcommand
keygen      c10k keygen: makes the keys of a broker and its nodes
"""
