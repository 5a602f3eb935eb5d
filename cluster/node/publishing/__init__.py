"""Publications of processes that are not nodes.

publish_socket      the Unix socket for such processes on this machine
external_requests   the requests of those on other machines, which arrive through the broker
publications        checks and publishes what comes in either way
"""
