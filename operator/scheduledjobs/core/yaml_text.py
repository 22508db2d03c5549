"""YAML that says to kubectl what it says here.

kubectl reads YAML by rules of its own (sigs.k8s.io/yaml): a plain `y`, `08`, `0o7` or `1_000` is no string for it,
though it is one for PyYAML, which writes such a string without quotes; other tools read by YAML 1.2.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_KEYWORD = re.compile(r"y|n|yes|no|on|off|true|false|null|~|<<|=|[-+]?\.?(inf|nan)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[._]*[0-9]")
"""How all numbers, dates and times begin; what begins so is quoted, whatever comes then."""
_WITH_UNIT = re.compile(r"([0-9]+(h|ms?|s|[KMGT]i))+")
"""Durations and sizes, which are no number for any parser, and read better without quotes."""


class _Dumper(yaml.SafeDumper):
    """Lists indented under their key, texts of several lines as blocks, as people write them; no aliases."""

    allow_unicode: bool

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001
        """Indent lists."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write each value out."""
        return True

    def write_double_quoted(self, text: str, split: bool = True) -> None:  # noqa: FBT001
        """Write a text with all but ASCII as escapes: something in it would be lost, unseen or replaced on a page."""
        before, self.allow_unicode = self.allow_unicode, False
        super().write_double_quoted(text, split)
        self.allow_unicode = before


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    """Return the sign of how a string is written; None where it may be plain, which PyYAML judges by its syntax."""
    if not text.replace("\n", "").isprintable():
        return '"'
    if "\n" in text:
        return "|"
    if _KEYWORD.fullmatch(text) or (_NUMBER.match(text) and not _WITH_UNIT.fullmatch(text)):
        return "'"
    return None


_Dumper.add_representer(str, _string)


def write_yaml(value: Any, width: int = 100) -> str:
    """Return a value as YAML, in the order of its fields, in which each string is one for every parser.

    Lines are broken at `width` columns where they can be.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text
