"""createdemousers."""
