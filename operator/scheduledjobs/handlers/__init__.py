"""Job code: the registry of handlers, what a handler is given, and the built-in ones."""
