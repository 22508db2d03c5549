"""Origins: which servers an entry of a list of hosts stands for. Scheme, host and port all count.

`api.example.com` is https on port 443, `*.example.com` every name below it (not itself), `api.example.com:8443` another
port, `http://reports.finance.svc:8080` plain http, which has to be said: what is sent there can be read on the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PORTS = {"https": 443, "http": 80}
HIGHEST_PORT = 65_535
LONGEST_NAME = 253
ENTRY = re.compile(
    r"(?:(?P<scheme>https?)://)?"
    r"(?P<host>(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """What an entry stands for; a `host` that begins with `*.` is every name that ends so."""

    scheme: str
    host: str
    port: int

    def has(self, scheme: str, host: str, port: int | None) -> bool:
        """Return whether a server is one of these; `host` in lower case, an IPv6 address without brackets."""
        is_host = host.endswith(self.host[1:]) and host != self.host[1:] if self._is_suffix else host == self.host
        return is_host and (scheme, port) == (self.scheme, self.port)

    @property
    def _is_suffix(self) -> bool:
        return self.host.startswith("*.")


def read_origin(entry: str) -> Origin:
    """Return what an entry stands for; `ValueError` with a sentence for one that cannot be read."""
    found = ENTRY.fullmatch(entry.lower())
    if found is None or len(entry) > LONGEST_NAME or ".." in entry:
        raise ValueError(
            f"{entry!r} must be a host such as api.example.com, *.example.com or api.example.com:8443, "
            "with http:// before it if it may be sent in the clear"
        )
    scheme = found["scheme"] or "https"
    port = int(found["port"]) if found["port"] else PORTS[scheme]
    if not 0 < port <= HIGHEST_PORT:
        raise ValueError(f"{entry!r} has a port that there is not")
    return Origin(scheme, found["host"].strip("[]"), port)
