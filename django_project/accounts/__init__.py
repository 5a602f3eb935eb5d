"""Accounts: log-in and log-out with Django's own views, and demo users."""
