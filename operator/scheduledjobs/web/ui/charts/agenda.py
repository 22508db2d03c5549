"""The next 24 hours of all jobs: a bar a quarter of an hour, its foot marked where jobs meet on one instant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from markupsafe import Markup

from scheduledjobs.web.models import Bucket
from scheduledjobs.web.ui.charts.drawing import WIDTH, count, group, joined, labels, nothing, path

HEIGHT = 72
FLOOR = HEIGHT - 6
LABELS = 9
QUARTER = timedelta(minutes=15)


def strip24(agenda: Sequence[Bucket], *, is_cut: bool = False) -> Markup:
    """Return the buckets as bars with a sentence for each; moments on one and the same instant are a second mark.

    `is_cut`: the buckets do not have the moments of all jobs.
    """
    if not any(bucket.moments for bucket in agenda):
        return nothing("Nothing is due in the next 24 hours.")
    width = WIDTH / len(agenda)
    most = max(bucket.moments for bucket in agenda)
    marks = [path("chart-line", f"M0 {FLOOR}H{WIDTH}")]
    for i, bucket in enumerate(agenda):
        if bucket.moments:
            marks.append(_bar(bucket, i * width, width, most))
    total = sum(bucket.moments for bucket in agenda)
    name = f"{count(total, 'moment')} in the next 24 hours, at most {most} in a quarter of an hour"
    if is_cut:
        name += "; not all jobs are counted"
    last = agenda[-1].start + QUARTER
    span = last - agenda[0].start
    times = [agenda[0].start + span * i / (LABELS - 1) for i in range(LABELS)]
    hours = [f"{times[0]:%H:%M} UTC", *(f"{time:%H:%M}" for time in times[1:])]
    return Markup('<div class="chart">{}{}</div>').format(
        group("chart-strip", HEIGHT, name, joined(marks)), labels("chart-x", hours)
    )


def _bar(bucket: Bucket, x: float, width: float, most: int) -> Markup:
    """A group with one sentence: the bar, and the mark below it where at least two moments fall together."""
    height = max(3, (FLOOR - 2) * (bucket.moments / most) ** 0.5)
    inner = width - 2
    bar = path("chart-bar", f"M{x + 1:.0f} {FLOOR}v-{height:.0f}h{inner:.0f}v{height:.0f}z")
    meets = bucket.most_at_once > 1
    foot = path("chart-meets", f"M{x + 1:.0f} {FLOOR + 2}h{inner:.0f}v4h-{inner:.0f}z") if meets else Markup("")
    sentence = f"{bucket.start:%H:%M} to {bucket.start + QUARTER:%H:%M} UTC: {count(bucket.moments, 'moment')}"
    if meets:
        sentence += f", {bucket.most_at_once} at the same instant"
    return Markup('<g aria-hidden="true"><title>{}</title>{}{}</g>').format(sentence, bar, foot)
