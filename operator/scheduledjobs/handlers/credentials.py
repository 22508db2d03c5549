"""Credentials: secrets that the operator was given by name, read from a mounted Secret at each use.

SCHEDULEDJOBS_CREDENTIALS says which there are, who may use them and where they may be sent; it holds no value. A value
is read when it is used, so a Secret that is rotated counts from the next execution on, without a restart. Whatever is
read is hidden in all that the attempt leaves behind (`hidden.py`).
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PrivateAttr, field_validator

from scheduledjobs.core.origin import Origin, read_origin
from scheduledjobs.errors import CredentialError
from scheduledjobs.handlers.execution import hide
from scheduledjobs.handlers.given import Given, find_given, read_given

SETTING = "SCHEDULEDJOBS_CREDENTIALS"
FIELD = "spec.payload.credential"
MOST_BYTES = 16 * 1024
MOST_KEYS = 64
PRESENT = "..data"
"""The link by which the kubelet changes all keys of a mounted Secret at once."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a credential as they are at one moment: a user name and a password that belong together."""

    name: str
    folder: Path
    names: frozenset[str]

    def read(self, key: str) -> str:
        """Return the value of a key, one line of text; `CredentialError` says what is wrong with it, never the value.

        It reads a file: call it in a thread where others wait.
        """
        what = f"credential {self.name!r}: the key {key!r}"
        if key not in self.names:
            raise CredentialError(f"{what} is missing")
        return read_secret(self.folder / key, what)


def absolute(path: Path) -> Path:
    """Return a path of the settings; `ValueError` for one that depends on where the operator was started."""
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


class Credential(Given):
    """A named secret; each of `path` and `secret` may be there, `path` for handlers that run in the operator."""

    path: Annotated[Path, AfterValidator(absolute)] | None = None
    """The folder where the Secret is mounted, a file per key."""

    hosts: tuple[str, ...] = Field(default=(), max_length=64)
    """Where http may send it, as `core/origin.py` reads them; none: nowhere."""

    secret: str | None = Field(default=None, min_length=1, max_length=253)
    """The Secret in the job's namespace that kubernetes-job puts into the pod's environment."""

    _name: str = PrivateAttr(default="")
    _origins: tuple[Origin, ...] = PrivateAttr(default=())

    @field_validator("hosts")
    @classmethod
    def _can_be_read(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            read_origin(entry)
        return value

    def named(self, name: str) -> Credential:
        """Say what it is called, once, after it was read."""
        self._name, self._origins = name, tuple(read_origin(entry) for entry in self.hosts)
        return self

    @property
    def name(self) -> str:
        """What manifests call it."""
        return self._name

    def may_go_to(self, scheme: str, host: str, port: int | None) -> bool:
        """Return whether it may be sent to this server; `host` in lower case, as it is looked up."""
        return any(origin.has(scheme, host, port) for origin in self._origins)

    def keys(self) -> Keys:
        """Return the keys that are mounted now; `CredentialError` where nothing is."""
        if self.path is None:
            raise CredentialError(f"credential {self.name!r}: the operator was given no path for it")
        try:
            folder = (self.path / PRESENT).resolve() if (self.path / PRESENT).exists() else self.path
            names = frozenset(name for name in os.listdir(folder) if not name.startswith(".."))  # noqa: PTH208 names
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise CredentialError(f"credential {self.name!r}: its Secret cannot be read: {reason}") from None
        if not names:
            raise CredentialError(f"credential {self.name!r}: its Secret is not mounted, or is empty")
        if len(names) > MOST_KEYS:
            raise CredentialError(f"credential {self.name!r}: its Secret has more than {MOST_KEYS} keys")
        return Keys(self.name, folder, names)

    def read(self, key: str) -> str:
        """Return the value of a key, as `Keys.read` does."""
        return self.keys().read(key)


@dataclass(slots=True)
class Credentials:
    """What the operator was given."""

    named: Mapping[str, Credential] = field(default_factory=dict)

    def find(self, name: str, namespace: str, field: str = FIELD) -> Credential:
        """Return the credential of that name; `SpecError` InvalidPayload says which are allowed in the namespace."""
        return find_given("credential", self.named, name, namespace, field)


credentials = Credentials()


def allow_credentials(named: Mapping[str, Any]) -> None:
    """Set the credentials of this process; `SettingsError` names the one that is wrong."""
    found = read_given(SETTING, Credential, named)
    credentials.named = {name: one.named(name) for name, one in found.items()}


def read_secret(path: Path, what: str) -> str:
    """Return the one line of text in a file, hidden from now on; `CredentialError` begins with `what`."""
    try:
        # Not blocking: somebody may have put a pipe there, on which opening would wait for ever.
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.read(opened, MOST_BYTES + 1) if stat.S_ISREG(os.fstat(opened).st_mode) else None
        finally:
            os.close(opened)
    except FileNotFoundError:
        raise CredentialError(f"{what} is missing") from None
    except OSError as error:
        raise CredentialError(f"{what} cannot be read: {error.strerror or type(error).__name__}") from None
    if found is None:
        raise CredentialError(f"{what} is not a file")
    value = _one_line(found, what)
    hide(value)
    return value


def _one_line(found: bytes, what: str) -> str:
    if len(found) > MOST_BYTES:
        raise CredentialError(f"{what} is longer than {MOST_BYTES // 1024} KiB")
    try:
        value = found.decode().rstrip("\r\n")  # an editor or `echo` ends a file with one
    except UnicodeDecodeError:
        raise CredentialError(f"{what} is not UTF-8 text") from None
    if not value.strip():
        raise CredentialError(f"{what} is empty")
    if any(unicodedata.category(char) == "Cc" for char in value):
        raise CredentialError(f"{what} must be one line without control characters")
    return value
