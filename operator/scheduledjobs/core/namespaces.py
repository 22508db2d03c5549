"""Names of namespaces in what the operator is told: one that no namespace can have matches nothing, and is refused.

Names only, no patterns: where all may be meant that is `*`, by itself.
"""

from __future__ import annotations

import re

EVERYBODY = "*"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_namespace(name: str) -> bool:
    """Return whether a namespace can have this name: a DNS label (RFC 1123) of at most 63 characters."""
    return _LABEL.fullmatch(name) is not None


def is_namespace_or_all(name: str) -> bool:
    """Return whether this is `*`, which is all namespaces, or a name that one can have."""
    return name == EVERYBODY or is_namespace(name)
