"""Floor 3: the process that keeps the broker and the nodes alive.

supervisor           Supervisor joins the parts
children             the child processes, their restarts and their output
control_connection   the connection between the supervisor and each child
listening_slots      each node's slot with its listening sockets
health               statistics of the children, and which of them no longer answer
admin_port           /healthz, /readyz and /metrics
"""
