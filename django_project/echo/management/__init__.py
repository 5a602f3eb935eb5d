"""Management commands of the echo app."""
