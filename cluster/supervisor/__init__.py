"""Floor 3: the process that keeps the broker and the nodes alive.

supervisor           starts and stops everything, and connects the parts below
config               the configuration of a cluster
registration         how the children register
restarting           restarts with new code, and after failures
operators            what operators ask, and how the supervisor answers
status               the status page
child_command        the command line and the environment of the children
child_processes      starts, restarts and stops the child processes
child_protocol       what one process of a child writes, and how it ends
child_output         the logs of the child processes, and what they print
certificates         TLS keys and certificates, which it reads for all nodes
control_connection   the connection between the supervisor and each child
listening_slots      the listening sockets of each node, which outlive its processes
heartbeat            replaces children that no longer work, and asks for their statistics
heartbeat_pipe       the pipe through which a thread of each child reports
admin_port           /healthz, /readyz and /metrics
deferred_response    responses that are made later
metrics              the statistics as metrics for Prometheus
"""
