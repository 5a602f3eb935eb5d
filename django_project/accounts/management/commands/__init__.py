"""createdemousers: creates users for the demos."""
