"""Job code: the registry of handlers, what a handler is given, and the built-in ones.

Write a handler with `from scheduledjobs.handlers import Execution, Permanent, Retry, handler`.
"""

from scheduledjobs.errors import Failed, Permanent, Retry
from scheduledjobs.handlers.execution import Execution
from scheduledjobs.handlers.registry import Handler, Registry, handler, load_registry

__all__ = ["Execution", "Failed", "Handler", "Permanent", "Registry", "Retry", "handler", "load_registry"]
