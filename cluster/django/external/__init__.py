"""Publishing from a process that is not a node: a shell, a cron job, a worker of a task queue.

backend            the way of this process: a node on this host, or else the engine of all machines
node_publisher     publishes through a node's Unix socket
node_lookup        finds a node of the running cluster
engine_publisher   publishes through the engine that the machines of the site share
engine_requests    that engine, as the settings name it
unanswered         publications without an answer, and the errors that both publishers report
"""
