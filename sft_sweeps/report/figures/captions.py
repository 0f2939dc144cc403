"""What stands below the figures: their titles, what their intervals are, and what is known of a paper's values."""

from collections.abc import Mapping, Sequence

from sft_sweeps.analysis.cells import Cell
from sft_sweeps.report.figures.charts import DAGGER, noted

TITLES = {
    "figure2": "Scaling: the score of each ability trained alone, over its examples; a line for each model.",
    "figure3": "Single against mixed: each ability alone and in a mixture of equal fractions, over its examples.",
    "figure4": "Ratios: mixtures over the ratio of one ability's fraction to the others', one of the two held fixed.",
    "figure6": "Ablation: the same mixtures with another source of one ability.",
    "figure7": "By category of the items: means with their 95 % intervals, one setting for each strategy.",
    "figure7_radar": "By category of the items, as a radar; its area means nothing, and it shows no intervals.",
    "figure8": "DMT over k, the replayed share of specialized data; mixed sequential is its zero.",
    "forgetting": "What each stage changed: right of the line a gain, left of it forgetting.",
    "pareto": "Trades between benchmarks; in parentheses and by shade, in how many bootstrap draws a setting is on the "
    "Pareto front.",
    "crossing": "The fraction at which mixed and alone cross, with its interval; an arrow is an end beyond the data.",
}
INTERVALS = (
    "Bars are 95 % intervals: of one training seed over items; of several, whose own scores are the small dots, over "
    "seeds and items together. Dashed lines are predictions, dotted ones base models. Hollow markers are a paper's "
    "values, with intervals of as many items as they are of."
)


def text(drawn: Mapping[str, str], left_out: Mapping[str, str], cells: Sequence[Cell]) -> str:
    """captions.md: of each figure what it shows, or why it is not there; then every flagged value of a paper."""
    parts = ["# Figures", *(f"**{name}** {title}" for name, title in drawn.items()), INTERVALS]
    if left_out:
        parts.append("## Not drawn\n\n" + "\n".join(f"- {name}: {why}" for name, why in left_out.items()))
    flagged = [cell for cell in cells if noted(cell.first.flags)]
    if flagged:
        parts.append(f"## {DAGGER} The paper's values that are marked\n\n" + "\n".join(map(_flagged, flagged)))
    return "\n\n".join(parts) + "\n"


def _flagged(cell: Cell) -> str:
    first = cell.first
    return (
        f"- {first.label}, {first.setting.model}, {first.benchmark}, {first.printed}: {'; '.join(noted(first.flags))}"
    )
