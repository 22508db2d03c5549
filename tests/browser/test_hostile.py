"""Names, messages, payloads, reasons and outputs are other people's: whatever they hold is shown, and does nothing."""

from __future__ import annotations

from tests.browser.conftest import NewVisitor
from tests.browser.seed import HOSTILE, MARKUP
from tests.browser.stage import Stage, Visitor


def shows_markup(visitor: Visitor, path: str) -> str:
    """Return the words of a page that holds the markup as words, and none of it as an element."""
    page = visitor.go(path)
    text = page.locator("main").inner_text()
    assert MARKUP in text or MARKUP in page.locator("main").inner_html().replace("&lt;", "<").replace("&gt;", ">")
    assert page.locator("img[src=x], main script:not([src])").count() == 0
    assert "\x1b" not in text
    assert "\u202e" not in text
    return text


def test_markup_is_words_on_every_page(ana: Visitor, stage: Stage) -> None:
    failed = stage.run("hostile", "FAILED")
    ghost = stage.uid(HOSTILE)
    base = "/ui/jobs/shop/hostile"
    for path in (base, f"{base}/history", f"{base}/versions", f"{base}/yaml", f"{base}/edit", f"{base}/run-now"):
        shows_markup(ana, path)
    for path in (f"/ui/jobs/{ghost}", f"/ui/jobs/{ghost}/history", "/ui/jobs?state=DELETED"):
        shows_markup(ana, path)
    text = shows_markup(ana, f"/ui/executions/{failed}")
    assert "‹U+202E›evil" in text
    assert "{{ 7*7 }}" in text


def test_what_somebody_searches_for_is_only_words(visit: NewVisitor) -> None:
    visitor = visit()
    for path in ("/ui/jobs?q=", "/ui/timeline?q=", "/ui/jobs/finance/sync-ledger/why?at=", "/ui/jobs?namespace="):
        page = visitor.go(f"{path}{MARKUP}")
        assert page.locator("img[src=x], main script:not([src])").count() == 0
    visitor.forgive("422")
