"""Clients: a client is the sockets of one Engine.IO session.

client         Client: receives its packets
namespaces     connects it to namespaces, and disconnects it
handler_runs   runs the handlers of its events
tasks          the tasks of handlers
"""
