"""How a source is shown: `data.repeat`, `data.weight` and `data.limit`, from the key to the stage."""

from fractions import Fraction

import pytest
from common import Points

from sft_sweeps.config import checks
from sft_sweeps.config.resolve import request
from sft_sweeps.errors import RequestError
from sft_sweeps.plan.build import build

LINE = ("model=mini", "data=mini", "train=mini", "evaluate=none")


def test_steps_and_ids_follow(points: Points) -> None:
    lines = ((), ("data.repeat.math=3",), ("data.weight.math=1/2",), ("data.limit=100",))
    plan = build([(" ".join(line), request(points(*LINE, *line)[0].config)) for line in lines], ())
    stages = [run.stages[0] for run in plan.runs]
    assert len({stage.id for stage in stages}) == len({run.label for run in plan.runs}) == len(lines)
    counts = [{c.source.ability: c.examples for c in stage.mixture.components} for stage in stages]
    plain = stages[0].mixture.examples
    assert [stage.mixture.examples for stage in stages] == [plain, plain + 2 * counts[0]["math"], plain, 300]
    assert stages[2].mixture.components != stages[0].mixture.components
    assert {c.weight for c in stages[2].mixture.components} == {Fraction(1), Fraction(1, 2)}
    shown_once = request(points(*LINE, "data.repeat.math=1", "data.weight.code=1")[0].config)
    assert build([("again", shown_once)], ()).runs[0].stages[0].id == stages[0].id


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data.repeat.math=0", "data.repeat.math=0 must be in 1 ... 1000"),
        ("data.repeat.math=100000", "data.repeat.math=100000 must be"),
        ("data.weight.code=0", "data.weight.code=0 is no weight; write a number above 0"),
        ("data.weight.code=-1", "data.weight.code=-1 is no weight"),
        ("data.weight.code=nan", "data.weight.code=nan is no weight"),
        ("data.limit=-1", "data.limit=-1 must be"),
    ],
)
def test_what_is_no_way_to_show_a_source(points: Points, line: str, message: str) -> None:
    assert any(message in problem for problem in checks.problems(points(*LINE, line)[0].config))


def test_a_batch_never_holds_an_example_twice(points: Points) -> None:
    config = points(*LINE, "data.limit=9", "data.repeat.math=4")[0].config
    with pytest.raises(RequestError, match=r"data.repeat.math=4: mini_math gives 9 examples, fewer than a batch has"):
        request(config)
