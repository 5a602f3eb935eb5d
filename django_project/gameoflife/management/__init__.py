"""Management commands of the Life app."""
