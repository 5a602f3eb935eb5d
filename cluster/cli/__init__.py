"""Floor 4: the command lines, and the programs that they start. Only these choose a reactor.

options          the options of twistd c10k, c10k-node and c10k-broker
option_parser    how they are read; option_values: what a bus, a settings module … must be
twistd           what twistd starts
child            what the supervisor starts: python -m cluster
runserver        what manage.py runserver starts
startup_errors   why a site does not start, as a one-line summary
process_setup    reactor, signals and exit of a process
"""
