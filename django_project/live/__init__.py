"""Live feed: what an ordinary view publishes is on every open page at once."""
