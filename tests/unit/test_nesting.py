"""JSON that is nested too deep."""

from __future__ import annotations

import orjson
import pytest

from scheduledjobs.core.nesting import DEEPEST_READ, cut, cut_json, is_deeper, read_json, read_shallow


def nested(levels: int, inner: str = "1") -> bytes:
    return b'{"a":' * levels + inner.encode() + b"}" * levels


@pytest.mark.parametrize(("levels", "deep"), [(0, False), (1, False), (2, False), (3, True), (900, True)])
def test_knows_what_is_deeper(levels: int, deep: bool) -> None:  # noqa: FBT001
    assert is_deeper(orjson.loads(nested(levels)), 2) is deep


def test_is_deep_by_its_deepest_part_alone() -> None:
    assert is_deeper({"a": [1, 2], "b": {"c": [{"d": []}]}, "e": 1}, 4)
    assert not is_deeper({"a": [1, 2], "b": {"c": [{"d": 1}]}, "e": 1}, 4)


def test_cuts_the_same_by_value_and_by_text() -> None:
    value = {"a": [1, {"b": [[], {}, "x"]}], "c": {"d": {"e": {"f": [1]}}, "g": "h"}, "i": ']}[{\\"'}
    for levels in range(1, 7):
        assert orjson.loads(cut_json(orjson.dumps(value), levels)) == cut(value, levels)
    assert cut(value, 6) == value


def test_reads_what_no_reader_reads_whole() -> None:
    for levels in (50, 300, 2000, 10_000):
        assert not is_deeper(read_shallow(nested(levels)), DEEPEST_READ)
        assert is_deeper(read_json(nested(levels)), 49)


def test_what_is_no_json_stays_none() -> None:
    for text in (b"{", b"", b'{"a": ]}', nested(2000)[:-1], b'{"a": "' + b"[" * 5000):
        with pytest.raises(orjson.JSONDecodeError):
            read_json(text)
