"""Floor 3: one node, the process that serves HTTP and WebSocket.

node             Node joins the parts
http             Django's ordinary requests
view_threads     the bounded pool of threads that runs its views
publish_socket   the Unix socket for external publishers
statistics       what a node counts
interpreter      settings of the interpreter for thousands of connections
"""
