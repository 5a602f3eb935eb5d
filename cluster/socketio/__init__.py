<<<<<<< HEAD
"""Socket.IO servers of a site, for clients over WebSocket and long polling, on any node."""
=======
"""Socket.IO servers of a site: clients connect over WebSocket or long polling, to any node.

engine   Engine.IO sessions, below Socket.IO
"""
>>>>>>> b30f476 (Engine.IO sessions over long polling and WebSocket: the seam of Socket.IO)
