"""Audiences: messages to all clients, to a user, a group or a session."""
