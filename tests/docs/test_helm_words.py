"""What pages tell people to type to Helm."""

from __future__ import annotations

import re

from tests.docs.test_links import ROOT, pages


def test_no_upgrade_keeps_the_values_of_the_old_chart_without_the_defaults_of_the_new() -> None:
    """`--reuse-values` leaves out every value that the new chart has and the old one had not."""
    told = {str(page.relative_to(ROOT)): page.read_text() for page in pages()}
    assert [name for name, text in told.items() if re.search(r"(?<!\S)--reuse-values\b", text)] == []
    assert sum("--reset-then-reuse-values" in text for text in told.values()) > 3
