"""Audiences: messages to everybody, to a user, a group or a session, sent and received."""
