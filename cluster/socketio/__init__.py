"""Socket.IO servers of a site, for clients over WebSocket and long polling, on any node.

engine   Engine.IO sessions, below Socket.IO
"""
