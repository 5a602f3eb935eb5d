"""Floor 3: one node, the process that serves HTTP and WebSocket.

node                  starts the parts, opens the ports, and stops them
drain                 ends the work of a node that stops or was replaced
config                the configuration of a node
assembly              creates and connects the parts; cluster.testing runs some of them in memory
http                  ordinary HTTP requests of Django's views
http_channel          the timeouts of an HTTP connection
moved_timeout         the timer of these
http_request          one request: its body, and the headers of proxies
request_bodies        how many bytes of bodies a node holds
responses/            static files, and how responses are sent
access_log            a line for each request, feed and WebSocket
view_threads          the bounded pool of threads that runs the views
thread_pool           the threads themselves
publishing/           publications of processes that are not nodes
inspection           the clients and topics that an operator asks for
statistics/           the statistics of a node
interpreter_tuning    settings of the Python interpreter for thousands of connections
"""
