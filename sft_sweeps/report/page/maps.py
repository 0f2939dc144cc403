"""Where models put the queries of each source, as a panel a model beside its base model (the paper's figure 5).

Above each panel stand silhouette and purity of the original space with their intervals: how far sources lie apart on a
map alone is no evidence (analysis/representations.py).
"""

import json
import textwrap
from collections.abc import Iterator, Sequence

from sft_sweeps.report.figures.representations import caption, interval
from sft_sweeps.report.page import looks
from sft_sweeps.report.page.chart import Chart, Heading, Numbers, chart
from sft_sweeps.report.page.looks import Row
from sft_sweeps.report.represented import Panel, Represented

HEIGHT, COLUMNS = 260, 3
TITLE = 34  # letters in a line above a panel
MARGIN = 0.04  # of a map's width, around its outermost points
Ends = tuple[float, float]


def maps(found: Sequence[Represented]) -> Iterator[Chart]:
    """A chart for each comparison of which a map was drawn."""
    for number, one in enumerate(one for one in found if one.drawn):
        title = f"{one.model}: how models place each source's queries, at layer {one.layer}"
        yield _map(one, Heading(f"map-{number}", title, caption(one)))


def _map(found: Represented, heading: Heading) -> Chart:
    import altair as alt

    names = [str(number) for number in range(len(found.panels))]  # labels of two panels may be alike
    titles = json.dumps([_title(panel) for panel in found.panels])
    sources = list(dict.fromkeys(found.sources))
    color, shape = looks.scale("source", sources, [1 + n % (looks.COLOURS - 1) for n in range(len(sources))])
    across, up = (alt.Scale(domain=_ends(found, axis), nice=False, zero=False) for axis in (0, 1))
    header = alt.Header(labelExpr=f"({titles})[+datum.value]", labelLineHeight=14, labelAnchor="start", title=None)
    drawn = (
        alt.Chart(alt.Data(values=_rows(found, names)))
        .mark_point(filled=True, size=26, opacity=0.75)
        .encode(
            x=alt.X("x:Q", axis=None, scale=across),
            y=alt.Y("y:Q", axis=None, scale=up),
            color=color,
            shape=shape,
            tooltip=looks.tooltip("source", "query"),
        )
        .properties(height=HEIGHT, view=alt.ViewBackground(stroke="currentColor", strokeOpacity=0.3))
        .facet(alt.Facet("panel:N", sort=names, title=None, header=header), columns=min(COLUMNS, len(names)))
    )
    return chart(heading, drawn, numbers(found))


def _title(panel: Panel) -> list[str]:
    apart = panel.separation
    lines = [f"silhouette {interval(apart.silhouette)}", f"{apart.neighbours}-NN purity {interval(apart.purity)}"]
    return [*textwrap.wrap(panel.label, TITLE), *lines]


def _ends(found: Represented, axis: int) -> Ends:
    """Of all panels, which share their plane."""
    values = [point[axis] for panel in found.panels for point in panel.points]
    around = MARGIN * (max(values) - min(values) or 1.0)
    return round(min(values) - around, 3), round(max(values) + around, 3)


def _rows(found: Represented, names: Sequence[str]) -> list[Row]:
    return [
        {"panel": name, "x": round(x, 3), "y": round(y, 3), "source": source, "query": query}
        for name, panel in zip(names, found.panels, strict=True)
        for (x, y), source, query in zip(panel.points, found.sources, found.queries, strict=True)
    ]


def numbers(found: Represented) -> Numbers:
    """What the map shows as numbers: how far each model keeps the sources apart."""
    header = ("model", "silhouette", "purity", "purity by chance", "silhouette, change", "purity, change", "queries")
    rows = []
    for panel in found.panels:
        one = panel.separation
        changes = ("-" if c is None else interval(c, "+") for c in (one.silhouette_change, one.purity_change))
        rows.append(
            (panel.label, interval(one.silhouette), interval(one.purity), f"{one.chance:.2f}", *changes, f"{one.n:,}")
        )
    return header, rows
