"""Socket.IO servers of a site: their clients connect over WebSocket or long polling, to any node."""
