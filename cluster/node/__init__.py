"""Floor 3: one node, the process that serves HTTP and WebSocket.

node                  starts the parts, opens the ports, and drains when it stops
config                the configuration of a node
assembly              creates and connects the parts; cluster.testing runs some of them in memory
http                  ordinary HTTP requests of Django's views
view_threads          the bounded pool of threads that runs the views
publish_socket        the Unix socket for external publishers
statistics            the statistics of a node
interpreter_tuning    settings of the Python interpreter for thousands of connections
"""
