"""Real nodes for tests of applications.

test_case   LiveClusterTestCase: starts a cluster with the test databases
client      LiveClient: a blocking WebSocket client through a real socket
socketio_client   LiveSocketIOClient: one of Socket.IO
settings    settings of the nodes: the project's, with the test databases
wsgi        the WSGI application of the nodes: the project's, with its static files
"""
