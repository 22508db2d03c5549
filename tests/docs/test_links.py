"""Every relative link and every anchor of every page resolves, as GitHub shows them; nothing is fetched."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
MARKDOWN = MarkdownIt("commonmark").enable("table")


def pages() -> list[Path]:
    """The pages of this repository: those that git knows, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "*.md"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if said.returncode:  # an archive without a history
        return sorted(page for page in ROOT.rglob("*.md") if not {".venv", ".dev"} & set(page.parts))
    return sorted(page for name in said.stdout.splitlines() if (page := ROOT / name).exists())


def inline(text: str) -> Iterator[Token]:
    """Yield the tokens within the blocks of a page."""
    for block in MARKDOWN.parse(text):
        yield from block.children or ()


def links(text: str) -> list[str]:
    """Return where the links and images of a page lead."""
    found = (token.attrGet("href") or token.attrGet("src") for token in inline(text))
    return [str(target) for target in found if target]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings: lower case, without punctuation, numbered where there are several."""
    blocks, found, seen = MARKDOWN.parse(text), set(), Counter[str]()
    for opening, content in pairwise(blocks):
        if opening.type == "heading_open":
            shown = "".join(token.content for token in content.children or () if token.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


@cache
def anchors_of(page: Path) -> set[str]:
    return anchors(page.read_text())


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead nowhere."""
    return [target for target in links(text) if not resolves(page, target)]


def resolves(page: Path, target: str) -> bool:
    split = urlsplit(target)
    if split.scheme or split.netloc:
        return split.scheme in ("http", "https", "mailto")
    found = (page.parent / unquote(split.path)).resolve() if split.path else page
    if not found.is_relative_to(ROOT) or not found.exists():
        return False
    return not split.fragment or (found.suffix == ".md" and split.fragment in anchors_of(found))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page, page.read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = (
        "[a](README.md) ![b](images/no.png) [c](README.md#no-such) [d](#here) [e](https://example.org/x) `[f](no.md)`"
    )
    wrong = ["images/no.png", "README.md#no-such", "#here", "../../../etc/passwd"]
    assert broken(DOCS / "README.md", f"{text}\n\n| a |\n| --- |\n| [g](../../../etc/passwd) |\n") == wrong


def test_anchors_are_those_of_github() -> None:
    text = "# It's `run-now`, again\n## Name\n## Name\n### spec.timeZone\n"
    assert anchors(text) == {"its-run-now-again", "name", "name-1", "spectimezone"}


def test_every_page_of_the_docs_can_be_reached_from_their_index() -> None:
    reached, left = set(), [DOCS / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        for target in links(page.read_text()):
            found = (page.parent / urlsplit(target).path).resolve()
            inside = sorted(found.glob("*.md")) if found.is_dir() else [found]
            left += [
                each for each in inside if each.suffix == ".md" and each.exists() and each not in {*reached, *left}
            ]
    assert {
        str(page.relative_to(ROOT)) for page in pages() if page.is_relative_to(DOCS) and page not in reached
    } == set()
