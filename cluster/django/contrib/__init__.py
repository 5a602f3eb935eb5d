"""Protocols of other projects.

websocket_redis   the WebSocket of django-websocket-redis, on audiences
"""
