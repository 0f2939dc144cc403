"""How a source is shown: `data.repeat`, `data.weight` and `data.limit`, from the key to the stage."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from common import Points
from fuzzing import answer

from sft_sweeps.config import checks
from sft_sweeps.config.resolve import request
from sft_sweeps.errors import RequestError
from sft_sweeps.plan.build import build
from sft_sweeps.plan.show import mixture_text
from sft_sweeps.spec.training import Stage

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
        (
            "data.repeat.maths=2",
            "no source and no ability maths; it has: code, mini_code, math, mini_math, general, mini_",
        ),
        ("data.repeat.maths=2", "did you mean data.repeat.math?"),
        (
            "data.weight.code=0",
            "write a number from 1/1000 to 1000, like data.weight.code=2; to train on none of it, leave",
        ),
        ("data.weight.code=-1", "data.weight.code=-1 is no weight"),
        ("data.weight.code=nan", "data.weight.code=nan is no weight"),
        ("data.weight.code=inf", "data.weight.code=inf is no weight"),
        ("data.weight.code='1e99999999'", "is no weight"),
        ("data.fractions.code='1e-99999999'", "is not a fraction"),
        ("data.limit=-1", "data.limit=-1 must be"),
        ("data.limit=0", "data.limit=0 must be a number of at least 1"),
        ("data.order=bysource", "did you mean data.order=by_source?"),
    ],
)
def test_what_is_no_way_to_show_a_source(points: Points, line: str, message: str) -> None:
    assert any(message in problem for problem in checks.problems(points(*LINE, line)[0].config))


def test_a_batch_never_holds_an_example_twice(points: Points) -> None:
    config = points(*LINE, "data.limit=9", "data.repeat.math=4")[0].config
    with pytest.raises(RequestError, match=r"data.repeat.math=4: mini_math gives 9 examples, fewer than a batch has"):
        request(config)
    replayed = points(*LINE, "strategy=dmt", "strategy.k=1/256", "data.repeat.math=4")[0].config
    with pytest.raises(RequestError, match=r"data.repeat.math=4: mini_math gives 10 examples to stage 2, fewer than"):
        request(replayed)


def made(points: Points, *lines: str) -> list[Stage]:
    """The stages of each line's run."""
    plan = build([(line, request(points(*LINE, *line.split())[0].config)) for line in lines])
    stages = [tuple(run.stages) for line in lines for run in plan.runs if line in run.points]
    return [stage for chain in stages for stage in chain]


def test_what_changes_nothing_forks_no_stage(points: Points) -> None:
    """One weight for all, and order, weight or limit where there is nothing to order, to weigh or to leave out."""
    plain, *others = made(
        points,
        "data.heldout=0",
        "data.weight.math=2 data.weight.code=2 data.weight.general=2",
        "data.limit=2800",
        "data.limit=100000",
    )
    assert {stage.id for stage in others} == {plain.id}
    alone = made(points, "strategy=sequential")
    lines = ("data.weight.math=3", "data.order=by_source", "data.order=interleaved")
    for line in lines:
        assert [one.id for one in made(points, f"strategy=sequential {line}")] == [one.id for one in alone]
    assert len({stage.id for line in ("data.limit=2799", *lines) for stage in made(points, line)} - {plain.id}) == 4


def test_sources_follow_one_another_as_in_sequential_training(points: Points) -> None:
    (stage,) = made(points, "data.order=by_source")
    sequence = [stage.mixture.components[0].source.name for stage in made(points, "strategy=sequential")]
    assert stage.recipe.source_order == tuple(sequence) == ("mini_code", "mini_math", "mini_general")
    first, last = made(points, "strategy=dmt strategy.k=1/4 data.order=by_source")
    assert first.recipe.source_order == ("mini_code", "mini_math")
    assert last.recipe.source_order == ("mini_code", "mini_math", "mini_general")
    (spread,) = made(points, "data.order=interleaved")
    assert (spread.recipe.order, spread.recipe.source_order) == ("interleaved", ())


def test_a_share_of_a_limited_source_is_replayed(points: Points) -> None:
    """k is a share of what the first stage was trained on; where that is no example, none is replayed."""
    for k, replayed in (("1/4", 25), ("1/256", 0)):
        first, last = made(points, f"strategy=dmt strategy.k={k} data.limit=100")
        assert {c.source.ability: c.examples for c in first.mixture.components} == {"math": 100, "code": 100}
        counts = {c.source.ability: c.examples for c in last.mixture.components}
        assert counts == {"math": replayed, "code": replayed, "general": 100}


@pytest.fixture
def extra(tmp_path: Path) -> str:
    """A second source of math, by its keys."""
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(40)]
    (tmp_path / "extra.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"+data.sources.extra.path={tmp_path}/extra.jsonl data.sources.extra.ability=math"


def test_the_nearest_name_of_a_source_counts(points: Points, extra: str) -> None:
    """An ability's key is about all of its sources, one with a source's name or its key in data.sources about that."""

    def of(line: str) -> dict[str, tuple[int, Fraction, int]]:
        (stage,) = made(points, f"{extra} {line}")
        return {c.source.name: (c.repeat, c.weight, c.examples) for c in stage.mixture.components}

    plain = {"mini_math": (1, 1, 2800), "extra": (1, 1, 40), "mini_code": (1, 1, 800), "mini_general": (1, 1, 2300)}
    assert of("") == plain
    assert of("data.repeat.math=3") == plain | {"mini_math": (3, 1, 2800), "extra": (3, 1, 40)}
    assert of("data.repeat.math=3 data.repeat.extra=2")["extra"] == (2, 1, 40)
    assert of("data.repeat.mini_math=2") == plain | {"mini_math": (2, 1, 2800)}
    assert of("data.weight.math=1/2 data.weight.mini_math=4") == plain | {
        "mini_math": (1, Fraction(4), 2800),
        "extra": (1, Fraction(1, 2), 40),
    }
    assert of("data.fractions.math=1/2") == plain | {"mini_math": (1, 1, 1400), "extra": (1, 1, 20)}
    assert of("data.fractions.math=1/2 data.fractions.extra=1") == plain | {"mini_math": (1, 1, 1400)}


def test_sources_of_one_ability_are_told_apart(points: Points, extra: str) -> None:
    line = f"{extra} data.repeat.extra=2 data.fractions.mini_math=1/2"
    plan = build([("line", request(points(*LINE, *line.split())[0].config))])
    assert plan.runs[0].label == "mini multi_task (mini_math 1/2) extra x2"
    assert mixture_text(plan.stages[0]) == "extra x2 (40) + code (800) + general (2,300) + mini_math 1/2 (1,400)"


def test_a_limited_source_keeps_its_last_examples_for_a_held_out_loss(points: Points) -> None:
    line = (*LINE, "evaluate=heldout_loss")
    plans = [build([("", request(points(*line[:3], line[-1], *more)[0].config))]) for more in ((), ("data.limit=100",))]
    assert [len(plan.generations) for plan in plans] == [0, 3]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("data.repeat=3", "data.repeat=3 speaks of no source; name one, or an ability: data.repeat.math=3"),
        ("data.repeat.math=1/2", "data.repeat.math=1/2 must be a whole number"),
        ("data.repeats.math=2", "unknown key data.repeats.math; did you mean data.repeat.math?"),
    ],
)
def test_what_is_no_key_or_number(typed: str, says: str, tmp_path: Path) -> None:
    given = answer([*LINE, typed], tmp_path)
    assert (given.status, given.error.strip()) == (2, f"error {says}")


def test_where_nothing_is_held_out_the_plan_says_so(points: Points) -> None:
    asked = (*LINE[:3], "evaluate=none", "evaluate.heldout_every=9")

    def notes(*more: str) -> list[str]:
        return [note for note in request(points(*asked, *more)[0].config).notes if "heldout_every" in note]

    (note,) = notes("data.fractions.code=1/2")
    assert note.startswith(
        "evaluate.heldout_every=9 finds nothing of mini_math, mini_general: fewer than 64 examples are"
    )
    assert "type data.heldout=64" in note
    assert notes("data.heldout=64") == notes("data.fraction=1/2") == notes("evaluate.heldout_every=0") == []
