"""What is written as YAML is what kubectl reads, and what is read is what kubectl would have read.

kubectl itself is asked: it reads YAML by the rules of Go's library, which are neither PyYAML's nor those of YAML 1.2.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
import yaml
from dev.controlplane import kubectl
from hypothesis import given
from hypothesis import strategies as st

from scheduledjobs.core.yaml_text import read_yaml, write_yaml
from scheduledjobs.importing.imported import Imported
from scheduledjobs.importing.manifest import manifest as imported_manifest
from scheduledjobs.web.ui import forms

WORDS = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "", "<<", "=", "nan", ".nan", "-.inf"]
NUMBERS = [
    *("0", "7", "08", "0800", "098765432109", "+1", "-1", "0o7", "0O7", "-0o7", "0b1", "0B1", "-0b1", "0x1F", "0xfg"),
    *(
        "1_000",
        "-_1",
        "_1",
        "._1",
        "1e3",
        "1E3",
        "1e999",
        ".5",
        "-.5",
        "1.",
        "1.0",
        "1e",
        "0x1p2",
        "98765432109876543210987",
    ),
    *(
        "12:30",
        "1:30:00",
        "1:30.5",
        "2026-01-01",
        "2026-1-1",
        "2026-01-01T08:00:00Z",
        "2026-01-01 08:00:00 +1",
        "2026-",
    ),
]
TEXTS = [
    *(
        "-",
        "--",
        "---",
        "- a",
        "...",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "*a",
        "&a",
        "!a",
        "!!int 1",
        "%a",
        "@a",
        "`a",
        "?",
        "? a",
    ),
    *(
        "|",
        ">",
        "[a]",
        "{a}",
        "a, b",
        "'",
        '"',
        "'y'",
        " a",
        "a ",
        "a\n",
        "\na",
        " a\nb",
        "a \nb",
        "\ta\nb",
        "a\n\n",
        "\n",
    ),
    *(
        "y\n",
        "---\na",
        "a\n...\nb",
        "a\r\nb",
        "a\x85b",
        "a\u2028b",
        "\ufeff",
        "\u202ea",
        "\x1b[31m",
        "\0",
        "ü",
        "日\n本",
        "😀",
    ),
    *("word " * 40, "x" * 200, "  " + "word " * 40, "\u202e" * 90, "a\\b", "a\\\nb", "\\N"),
]
ODD = [*WORDS, *(change(word) for change in (str.upper, str.title) for word in WORDS), *NUMBERS, *TEXTS]
PLAIN = [
    *("nightly-report", "Etc/UTC", "sh", "-c", "--verbose", "/bin/sh", "./run", "~/x", "$(NAME)", "yesterday", "none"),
    *("30s", "1h30m", "500ms", "64Mi", "https://example.org/a?b=c#d", "a,b", "_", "x1"),
]
CRON = ["0 2 * * *", "*/5 * * * *", "@hourly"]


def read_by_kubectl(text: str) -> Any:
    """Return the object that kubectl takes from a file, with no cluster asked."""
    words = [kubectl(), "annotate", "--kubeconfig=/dev/null", "--local", "-f", "-", "a-", "-o", "json"]
    return json.loads(subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout)


def of_an_import(spec: Mapping[str, Any]) -> str:
    return imported_manifest(Imported(name="x", namespace=None, labels={}, origin="x", spec=spec, notes=()))


def of_the_form(spec: Mapping[str, Any]) -> str:
    return forms.manifest("default", "x", spec)


@pytest.mark.parametrize("write", [of_an_import, of_the_form], ids=lambda write: write.__name__)
def test_a_string_is_that_string_for_kubectl_as_key_and_as_value(write: Callable[[Mapping[str, Any]], str]) -> None:
    payload = {"values": ODD + PLAIN + CRON, **{text: text for text in ODD + PLAIN + CRON}}
    text = write({"handler": "log", "payload": payload})
    assert read_by_kubectl(text)["spec"] == {"handler": "log", "payload": payload}
    assert yaml.safe_load(text)["spec"] == {"handler": "log", "payload": payload}


@pytest.mark.parametrize("text", [text for text in WORDS + NUMBERS if text])
def test_what_a_parser_might_take_for_no_string_is_quoted(text: str) -> None:
    assert write_yaml({text: text}) == f"'{text}': '{text}'\n"


@pytest.mark.parametrize("text", PLAIN)
def test_what_no_parser_takes_for_anything_else_stays_plain(text: str) -> None:
    assert write_yaml({"a": text}) == f"a: {text}\n"


@pytest.mark.parametrize("text", CRON)
def test_a_cron_expression_has_quotes(text: str) -> None:
    assert write_yaml({"schedule": text}) == f"schedule: '{text}'\n"


def test_a_text_of_several_lines_is_a_block_and_lists_are_indented() -> None:
    assert write_yaml({"args": ["-c", "set -e\ny\n"]}) == "args:\n  - -c\n  - |\n    set -e\n    y\n"


def test_what_is_no_string_has_no_quotes_and_nothing_is_an_alias() -> None:
    same = {"b": 1}
    assert write_yaml({"a": same, "c": same, "d": [True, None, 1.5]}) == (
        "a:\n  b: 1\nc:\n  b: 1\nd:\n  - true\n  - null\n  - 1.5\n"
    )


def test_a_character_that_hides_or_reorders_is_written_as_its_number() -> None:
    assert write_yaml({"a": "ü \u202e"}) == 'a: "\\xFC \\u202E"\n'


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_any_text_reads_back(found: dict[str, Any]) -> None:
    assert yaml.safe_load(write_yaml(found)) == found


MORE = [
    *("-0", "00", "-08", "017", "0o8", "0O17", "0X1f", "0b12", "0b", "0_8", "1__0", "+0b1", "09.5", "1_0.5", "1._5"),
    *(".5_0", ".e5", "-.", "+.5", "1e-7", "190:20:30", "-1:30", "yEs", "nUll"),
    *('"08"', "'n'", "!!str 08", "!!timestamp 2026-01-01", '!!int "0o7"', "!!float 08", '!!bool "y"', "!!binary aGk="),
]
NULLS = ["~", "null", "Null", "NULL", ""]
NO_JSON = [".inf", "+.INF", "-.Inf", ".nan", ".NaN", ".NAN"]
VALUES = [*(one for one in (*WORDS, "NO", "No", "True", *NUMBERS, *MORE) if one.lower() not in (".nan", "-.inf"))]
KEYS = ["y", "off", "08", "0x1F", "1_000", "1.50", "1e6", "1e3", "1.2345678", ".5", "12:30", "2026-01-01", "=", "a"]
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"


@cache
def told_by_kubectl() -> dict[str, Any]:
    lines = [*(f"- {value}" for value in VALUES), *(f"- {{{key}: a}}" for key in KEYS)]
    return dict(zip(lines, read_by_kubectl(f"{HEAD}a:\n" + "\n".join(lines))["a"], strict=True))


@pytest.mark.parametrize("line", [*(f"- {value}" for value in VALUES), *(f"- {{{key}: a}}" for key in KEYS)])
def test_a_value_and_a_key_are_read_as_kubectl_reads_them(line: str) -> None:
    ((found,),) = read_yaml(line)
    told = told_by_kubectl()[line]
    assert (found, type(found)) == (told, type(told))


def test_a_merge_is_one() -> None:
    text = f"{HEAD}a: &a {{b: 1, 2: 3}}\nc: {{<<: *a, b: 2}}\n"
    assert read_yaml(text)[0]["c"] == read_by_kubectl(text)["c"] == {"b": 2, "2": 3}


@pytest.mark.parametrize("line", [*(f"a: {value}" for value in NO_JSON), *(f"a: {{{key}: b}}" for key in NULLS[:4])])
def test_what_kubectl_refuses_is_refused(line: str) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        read_by_kubectl(f"{HEAD}{line}\n")
    with pytest.raises(yaml.YAMLError):
        read_yaml(f"{HEAD}{line}\n")


@pytest.mark.parametrize("value", ["!!int [1]", "!!timestamp {a: b}", "!!map [1]", "{[a]: b}", "!!binary /w=="])
def test_a_value_that_is_not_what_its_tag_says_is_refused(value: str) -> None:
    with pytest.raises((yaml.YAMLError, ValueError)):
        read_yaml(f"a: {value}\n")


def test_a_stream_may_hold_several_documents() -> None:
    assert read_yaml("a: 1\n---\n---\n- b\n") == [{"a": 1}, None, ["b"]]


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(), st.lists))
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert read_yaml(write_yaml(value)) == [value]
