"""Real nodes for the tests of applications.

test_case   LiveClusterTestCase: starts a cluster on the test's databases
client      LiveClient: a blocking WebSocket client through a real socket
settings    settings of the nodes: the project's, with the test's databases
wsgi        the WSGI application of the nodes: the project's, and its static files
"""
