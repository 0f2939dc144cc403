"""The paper's figure 5: where a base model and those trained from it put the queries of each source (t-SNE).

Beside each panel's title stand silhouette and purity in the original space, with their intervals: the map alone is no
evidence of how far sources are apart.
"""

import textwrap
from typing import Any

from sft_sweeps.report.figures import style
from sft_sweeps.report.represented import Panel, Represented
from sft_sweeps.stats import Interval

COLUMNS = 3
HEIGHT = 2.45
WRAPPED = 40  # characters of a title's line


def figure5(found: Represented) -> Any:
    """A panel for each model, all on one plane; the reason where there is no map to draw."""
    if not found.drawn:
        return "no map was made: scikit-learn is not installed, or there are too many models for one"
    looks = style.looks(found.sources)
    columns = min(COLUMNS, len(found.panels))
    rows = -(-len(found.panels) // columns)
    width = style.PAGE if columns == COLUMNS else 2.3 * columns + 0.2
    figure, axes = style.panels(rows, columns, width=width, height=HEIGHT, sharex=True, sharey=True)
    for index, axis in enumerate(axis for line in axes for axis in line):
        if index < len(found.panels):
            _panel(axis, found.panels[index], found, looks)
        else:
            axis.set_axis_off()
    entries = [_entry(name, look) for name, look in looks.items()]
    figure.legend(handles=entries, loc="outside lower center", ncols=len(entries))
    return figure


def caption(found: Represented) -> str:
    """What the figure shows, and what it does not."""
    return (
        f"t-SNE (perplexity {found.perplexity:g}, seed {found.seed}, all models together) of hidden_states"
        f"[{found.layer}] at {len(found.queries):,} queries, {_pooling(found.pooling)}. Distances and sizes on it mean "
        f"nothing; silhouette and {found.panels[0].separation.neighbours}-nearest-neighbour purity are of the original "
        f"space, with 95 % bootstrap intervals over queries. Chance alone has a purity of "
        f"{found.panels[0].separation.chance:.2f}."
    )


def _pooling(pooling: str) -> str:
    return "the prompt's last token" if pooling == "last" else "the mean over a prompt's tokens but the first"


def _panel(axis: Any, panel: Panel, found: Represented, looks: dict[str, style.Look]) -> None:
    for name, look in looks.items():
        own = [point for point, source in zip(panel.points, found.sources, strict=True) if source == name]
        x, y = zip(*own, strict=True)
        axis.scatter(x, y, s=7, c=look.colour, marker=look.marker, linewidths=0, alpha=0.75, rasterized=len(x) > 500)
    numbers = panel.separation
    lines = [f"silhouette {interval(numbers.silhouette)}", f"purity {interval(numbers.purity)}"]
    axis.set_title("\n".join([textwrap.fill(panel.label, WRAPPED), *lines]), fontsize=6.5)
    axis.set_xticks([])
    axis.set_yticks([])


def interval(one: Interval, sign: str = "") -> str:
    """`0.31 [0.27, 0.35]`, with digits enough to tell small ones apart; `sign` is "+" for a change."""
    digits = 2 if max(abs(one.low), abs(one.high)) >= 0.1 else 3
    return f"{one.value:{sign}.{digits}f} [{one.low:{sign}.{digits}f}, {one.high:{sign}.{digits}f}]"


def _entry(name: str, look: style.Look) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look.colour, marker=look.marker, ls="", label=name)
