"""Closing the clients of a session or a user that may no longer be connected.

revocations         revoke: tells all nodes whose session ended, or which user changed
session_signals     does so by Django's signals
revocable_clients   the clients of a node, and which of them a revocation closes
"""
