"""REST: one router a noun; its paths are at the root of the server."""
