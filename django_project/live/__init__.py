"""Live feed: an ordinary view publishes a message, and every open page shows it at once."""
