"""The paper's grid made once more: the runs that `next` names lead to its conclusions in fewer hours than others."""

from statistics import median

import pytest
from common import Points

from bench.next_replay import paper_grid
from sft_sweeps.analysis.replay import Replayer, at_random, by_advice, cheapest, successive_halving
from sft_sweeps.launch.points import planned

pytestmark = pytest.mark.slow


def test_the_papers_conclusions_are_reached_in_fewer_hours(points: Points) -> None:
    grid = paper_grid(planned(points("study=paper")))
    assert len(grid.candidates) >= 90
    replayer = Replayer(grid)
    assert replayer.conclusions >= 40
    ours = replayer.replay(by_advice)
    for share in (0.9, 0.95):
        others = [replayer.replay(at_random(seed)).reached(share) for seed in range(5)]
        assert ours.reached(share) < median(others)
        assert ours.reached(share) < replayer.replay(successive_halving(grid)).reached(share)
        assert ours.reached(share) < replayer.replay(cheapest).reached(share)
