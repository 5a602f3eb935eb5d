"""Accounts: log in and out with Django's own views, and users to try it with."""
