"""What all charts share: the words and classes of states, lengths of time in words, and escaped elements."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from markupsafe import Markup

from scheduledjobs.core.reasons import State

MINUS = "\N{MINUS SIGN}"
WIDTH = 1000
"""Units from the left to the right edge of a chart that is stretched."""

CLASSES = {
    State.PENDING: "s-pending",
    State.RUNNING: "s-running",
    State.SUCCEEDED: "s-succeeded",
    State.FAILED: "s-failed",
    State.TIMED_OUT: "s-failed",
    State.LOST: "s-failed",
    State.CANCELLED: "s-cancelled",
    State.SKIPPED: "s-skipped",
    State.MISSED: "s-missed",
}
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


def state_class(state: State) -> str:
    """Return the class name that gives a state its colour."""
    return CLASSES[state]


def state_word(state: State) -> str:
    """Return a state as a word: `Timed out`."""
    return state.value.replace("_", " ").capitalize()


def spell_ms(milliseconds: float) -> str:
    """Return a length of time in at most two units: `340 ms`, `1.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if milliseconds < 0:
        return f"{MINUS}{spell_ms(-milliseconds)}"
    if milliseconds < SECOND:
        digits = 1 if 0 < milliseconds < 1 else 0
        return f"{milliseconds:.{digits}f} ms"
    if milliseconds < MINUTE:
        return f"{milliseconds / SECOND:.1f}".removesuffix(".0") + " s"
    for size, unit, smaller, word in ((DAY, "d", HOUR, "h"), (HOUR, "h", MINUTE, "min"), (MINUTE, "min", SECOND, "s")):
        if milliseconds >= size:
            whole, rest = divmod(int(milliseconds), size)
            return f"{whole} {unit} {rest // smaller} {word}" if rest >= smaller else f"{whole} {unit}"
    raise AssertionError


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 run`, `2 runs`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def clock(moment: datetime) -> str:
    """Return a moment as a reader of a list wants it: `24 Nov 14:05:09`."""
    return f"{moment.day} {moment:%b %H:%M:%S}"


def path(css: str, d: str) -> Markup:
    """Return a path."""
    return Markup('<path class="{}" d="{}"/>').format(css, d)


def described(css: str, d: str, title: str) -> Markup:
    """Return a path that says what it is when the pointer rests on it."""
    return Markup('<path class="{}" d="{}"><title>{}</title></path>').format(css, d, title)


def linked(execution_id: int, inside: Markup) -> Markup:
    """Return a mark that leads a mouse to its execution; keyboards and readers have the same link in the table."""
    link = Markup('<a href="/ui/executions/{}" tabindex="-1" aria-hidden="true">{}</a>')
    return link.format(execution_id, inside)


def joined(parts: Iterable[Markup]) -> Markup:
    """Return the parts one after the other."""
    return Markup("").join(parts)


def image(css: str, height: int, name: str, inside: Markup) -> Markup:
    """Return a stretched drawing without links: one image with a name, for readers and as a tooltip."""
    svg = Markup(
        '<svg class="chart-svg {}" viewBox="0 0 {} {}" height="{}" preserveAspectRatio="none" role="img">'
        "<title>{}</title>{}</svg>"
    )
    return svg.format(css, WIDTH, height, height, name, inside)


def group(css: str, height: int, name: str, inside: Markup) -> Markup:
    """Return a stretched drawing whose marks have links or words of their own."""
    svg = Markup(
        '<svg class="chart-svg {}" viewBox="0 0 {} {}" height="{}" preserveAspectRatio="none" role="group"'
        ' aria-label="{}">{}</svg>'
    )
    return svg.format(css, WIDTH, height, height, name, inside)


def labels(css: str, texts: Iterable[str]) -> Markup:
    """Return the labels of an axis, spread evenly by the style sheet."""
    spans = joined(Markup("<span>{}</span>").format(text) for text in texts)
    return Markup('<div class="{}" aria-hidden="true">{}</div>').format(css, spans)


def nothing(text: str) -> Markup:
    """Return what stands in the place of a chart without data."""
    return Markup('<p class="empty">{}</p>').format(text)
