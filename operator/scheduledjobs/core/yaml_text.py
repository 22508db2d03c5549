"""YAML that says to kubectl what it says here.

kubectl reads YAML by rules of its own (sigs.k8s.io/yaml): a plain `y`, `08`, `0o7` or `1_000` is no string for it,
though it is one for PyYAML, which writes such a string without quotes; other tools read by YAML 1.2.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

_TAG = "tag:yaml.org,2002:"

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
    return dumper.represent_scalar(f"{_TAG}str", text, style=_style(text))


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


_TRUE = {"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"}
_FALSE = {"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"}
_NULL = {"", "~", "null", "Null", "NULL"}
_NO_JSON = {sign + word for word in (".inf", ".Inf", ".INF") for sign in ("", "+", "-")} | {".nan", ".NaN", ".NAN"}
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,18}|0[oO]?[0-7]{1,64}|0[xX][0-9a-fA-F]{1,64}|0[bB][01]{1,64})")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_SAFE = range(-(2**63), 2**63)


def _number(text: str) -> int | float | None:
    """Return the number that a plain text is, without base 60; None where it is none."""
    if text.startswith("."):
        digits = re.sub("(?<=[0-9])_(?=[0-9])", "", text)
    elif re.match("[-+0-9]", text):
        digits = text.replace("_", "")
    else:
        return None
    if _WHOLE.fullmatch(digits):
        whole = int(digits, 8 if _OCTAL.fullmatch(digits) else 0)
        return whole if whole in _SAFE else float(whole)
    if _DECIMAL.fullmatch(digits) and math.isfinite(found := float(digits)):
        return found
    return None


class _Loader(yaml.SafeLoader):
    """Plain texts by kubectl's rules, which are older than YAML 1.2: `y` is true and `010` is 8, `12:30` is a text."""

    bool_values: ClassVar[dict[str, bool]] = {word.lower(): word in _TRUE for word in _TRUE | _FALSE}

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Return the tag of a node that names none."""
        if kind is not yaml.ScalarNode or not implicit[0]:
            return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        if value in _NULL:
            return f"{_TAG}null"
        if value in _TRUE or value in _FALSE:
            return f"{_TAG}bool"
        if value == "<<":
            return f"{_TAG}merge"
        return f"{_TAG}float" if value in _NO_JSON or _number(value) is not None else f"{_TAG}str"

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001
        """Return a mapping whose keys are texts, as JSON has them."""
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)
            node.value = [(_text_key(key), value) for key, value in node.value]
        return super().construct_mapping(node, deep)


def _text_key(key: yaml.Node) -> yaml.Node:
    kind = key.tag.removeprefix(_TAG)
    if kind == "null":
        raise ConstructorError(None, None, "found a key that is null", key.start_mark)
    if kind == "bool":
        text = "true" if key.value in _TRUE else "false"
    elif kind in ("int", "float"):
        number = _of_node(key)
        text = f"{number:g}" if isinstance(number, float) and float(f"{number:g}") == number else str(number)
    else:
        return key
    return yaml.ScalarNode(f"{_TAG}str", text, key.start_mark, key.end_mark)


def _of_node(node: yaml.Node) -> int | float:
    found = _number(node.value) if isinstance(node, yaml.ScalarNode) else None
    if found is None:
        raise ConstructorError(None, None, f"found {node.value!r}, which is no number in JSON", node.start_mark)
    return found


def _construct_number(_: yaml.SafeLoader, node: yaml.Node) -> int | float:
    """Return a number: a whole one where it has no fraction, as JSON makes no difference."""
    found = _of_node(node)
    return int(found) if found == int(found) and int(found) in _SAFE else found


def _construct_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    """Return a date as it is written, and what would be a merge were it a key."""
    return str(loader.construct_scalar(node))


def _construct_binary(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return loader.construct_yaml_binary(node).decode()


_Loader.add_constructor(f"{_TAG}int", _construct_number)
_Loader.add_constructor(f"{_TAG}float", _construct_number)
_Loader.add_constructor(f"{_TAG}timestamp", _construct_text)
_Loader.add_constructor(f"{_TAG}merge", _construct_text)
_Loader.add_constructor(f"{_TAG}binary", _construct_binary)


def read_yaml(text: str) -> list[Any]:
    """Return the documents of a text, with the strings, numbers and truth values that kubectl finds in them.

    `yaml.YAMLError` or `ValueError` for what is no YAML, or is nothing that JSON has.
    """
    return list(yaml.load_all(text, Loader=_Loader))
