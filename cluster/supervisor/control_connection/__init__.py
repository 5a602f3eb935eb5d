"""The control connection between the supervisor and each of its children.

The protocol is AMP over a Unix socket in the private runtime folder. The child sends first::

    child          supervisor
    Register    ->             I am process PID for slot K (the broker: slot -1)
                <- Listen      the descriptor of a listening socket; one command for each socket
                <- (response)  the configuration, as JSON
    Ready       ->             the child serves, and how long it may need to stop; once
    StartFailed ->             or: the child cannot start; it exits when it has the response
                <- Stats       for every scrape
                <- Inspect     of a node: which clients and topics it has, for an operator
                <- Stop        drain and exit; its replacement may serve already

An operator's command, Ask (cluster.supervisor.operators), comes over a connection of its own, whose
other end does not register.

When the connection is lost, a child exits at once, because its supervisor is gone. The supervisor
forgets the connection; the process monitor reports the end of the process.

commands          the commands of this protocol, and the class of both ends
json_argument     values of any size in them
child_link        the supervisor's end
supervisor_link   the child's end
"""
