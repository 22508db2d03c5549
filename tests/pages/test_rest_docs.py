"""The reference of REST is the one that its OpenAPI document makes."""

from __future__ import annotations

import re
from pathlib import Path

from dev.rest_docs import PAGE, page

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "rest.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_every_call_has_a_sentence_and_every_link_leads_somewhere() -> None:
    text = page()
    assert len(re.findall(r"^## (?:GET|POST|PUT|DELETE) /", text, re.M)) == 16
    headings = {name.lower() for name in re.findall(r"^### (\w+)$", text, re.M)}
    assert set(re.findall(r"\(#(\w+)\)", text)) - headings == set()
    assert "None" not in text


def test_the_howto_uses_every_call() -> None:
    text = HOWTO.read_text()
    for call in re.findall(r"^## \w+ /(?:jobs/\{id\}/)?([\w-]+)", page(), re.M):
        assert call in text, call
