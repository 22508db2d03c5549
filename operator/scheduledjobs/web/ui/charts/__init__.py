"""SVG drawn on the server: pure functions from the models to markup, coloured by class names alone.

No chart holds a style or a script, because the pages forbid both. Most are drawn in a box of fixed units that is
stretched to the width there is; strokes do not scale with it, and text stands beside the drawing, in HTML.
"""

from scheduledjobs.web.ui.charts.agenda import strip24
from scheduledjobs.web.ui.charts.drawing import spell_ms, state_class, state_word
from scheduledjobs.web.ui.charts.heat import heat_map
from scheduledjobs.web.ui.charts.lanes import axis, lane, lanes
from scheduledjobs.web.ui.charts.plots import duration_plot, lateness_plot
from scheduledjobs.web.ui.charts.run import execution_timeline
from scheduledjobs.web.ui.charts.sparkline import sparkline

__all__ = [
    "axis",
    "duration_plot",
    "execution_timeline",
    "heat_map",
    "lane",
    "lanes",
    "lateness_plot",
    "sparkline",
    "spell_ms",
    "state_class",
    "state_word",
    "strip24",
]
