"""What an operator can ask of a running cluster, and how the supervisor answers.

operations     the commands, which it answers with the help of the nodes
scaling        drains and starts nodes, and changes their number
cluster_view   what people see: the status page and the commands
admin_source   what programs see: probes and scrapes
"""
