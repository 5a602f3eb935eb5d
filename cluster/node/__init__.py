"""Floor 3: one node, the process that serves HTTP and WebSocket.

node             Node: its start, its ports and its end
config           what a node is configured with
assembly         the parts of a node, joined; cluster.testing has them in memory
http             Django's ordinary requests
view_threads     the bounded pool of threads that runs its views
publish_socket   the Unix socket for external publishers
statistics       what a node counts
interpreter      settings of the interpreter for thousands of connections
"""
