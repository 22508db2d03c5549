"""What the operator does a second, and how late it is, measured through all of it."""
