"""testecho: ten thousand clients that hold a conversation."""
