"""Floor 4: the command lines, and the programs that they start. Only they choose a reactor.

options          the options of twistd c10k and c10k-node
broker_options   those of c10k-broker
site_options     those that several of these have
parsing          parses them: numbers, error messages, --version
value_checks     checks a bus, the engine of several machines, a settings module, a certificate …
services         the services that twistd starts
child            a child of the supervisor: registers, starts, reports and stops
child_main       the program of its process: python -m cluster
console/         the c10k command: operates clusters from a shell
runserver        the server for manage.py runserver
twistd_log       the log of a process that twistd starts
log_signals      SIGUSR1 reopens log files
startup_errors   why a process does not start, as a one-line summary
process_setup    reactor, signals, log and exit of a process
asyncio_reactor  the reactor of all processes
"""
