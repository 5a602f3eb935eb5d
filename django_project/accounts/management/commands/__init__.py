"""createdemousers: people to log in as."""
