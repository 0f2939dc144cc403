"""From lines that one would type to points: product, restriction, unknown values, quoting."""

import pytest
from common import Points
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.config.grid import Axes, axes, expand, line_axes
from sft_sweeps.errors import RequestError


def expanded(lines: list[str], command: str = "") -> list[str]:
    parsed = [line_axes(line, "study=x") for line in lines]
    return [" ".join(point) for point in expand(parsed, line_axes(command, "command"), "study=x")]


def test_a_line_spans_the_product_of_its_axes_lines_in_order() -> None:
    assert expanded(["a=1,2 b=x,y", "a=3"]) == ["a=1 b=x", "a=1 b=y", "a=2 b=x", "a=2 b=y", "a=3"]
    assert expanded([""]) == [""]


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from("1234"), min_size=1, unique=True)), min_size=1
    )
)
def test_the_product_has_every_combination_once(lines: list[Axes]) -> None:
    points = expand(lines, {}, "study=x")
    sizes = []
    for line in lines:
        size = 1
        for values in line.values():
            size *= len(values)
        sizes.append(size)
    assert len(points) == sum(sizes)
    assert all(len({*points_of_line}) == len(points_of_line) for points_of_line in by_line(points, sizes))


def by_line(points: list[list[str]], sizes: list[int]) -> list[list[tuple[str, ...]]]:
    start, lines = 0, []
    for size in sizes:
        lines.append([tuple(point) for point in points[start : start + size]])
        start += size
    return lines


def test_the_command_line_restricts_an_axis_that_a_line_sweeps() -> None:
    lines = ["model=7b,13b s=m,d", "model=13b,33b s=d k=1/4,1"]
    assert expanded(lines, "model=7b") == ["model=7b s=m", "model=7b s=d"]
    assert expanded(lines, "model=33b,7b") == [
        "model=7b s=m",
        "model=7b s=d",
        "model=33b s=d k=1/4",
        "model=33b s=d k=1",
    ]
    assert len(expanded(lines, "model=7b,13b,33b s=d")) == 2 + 4


@pytest.mark.parametrize("value", ["0.25", "1/4", "2/8", "01/4"])
def test_equal_fractions_are_one_value(value: str) -> None:
    assert expanded(["f=1,1/4,1/16"], f"f={value}") == ["f=1/4"]


def test_a_value_outside_the_study_is_refused_with_the_valid_ones() -> None:
    for command in ("f=1/2", "f=1/4,1/2"):
        with pytest.raises(RequestError) as error:
            expanded(["f=1,1/4", "g=1"], command)
        assert str(error.value).startswith("study=x sweeps f over 1, 1/4; f=1/2 is not among them. For other values ")


def test_restrictions_that_no_line_fits_together_are_refused() -> None:
    with pytest.raises(RequestError, match="no line of its grid has all of"):
        expanded(["a=1 b=1", "a=2 b=2"], "a=1 b=2")


def test_other_axes_are_added_to_every_line() -> None:
    assert expanded(["a=1", "b=1"], "seed=0,1") == ["a=1 seed=0", "a=1 seed=1", "b=1 seed=0", "b=1 seed=1"]


def test_the_last_of_equal_keys_counts() -> None:
    assert axes(["a=1,2", "a=3"]) == {"a": ["3"]}


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("a=1,2", ["1", "2"]),
        ("a=range(0,3)", ["0", "1", "2"]),
        ("a=choice(x,y)", ["x", "y"]),
        ("a=[1,2]", ["[1,2]"]),
        ("a=[1,2],[3]", ["[1,2]", "[3]"]),
        ("a='x,y'", ["'x,y'"]),
        ("a='x y','z'", ["'x y'", "'z'"]),
        ("a=", [""]),
        ("a=null", ["null"]),
        ("+a=1", ["1"]),
        ("a=1/4,1/16", ["1/4", "1/16"]),
    ],
)
def test_values_are_written_as_they_were_read(override: str, values: list[str]) -> None:
    ((key, written),) = axes([override]).items()
    assert written == values
    again = axes([f"{key}={','.join(written)}"])
    assert again == {key: values}


@pytest.mark.parametrize("override", ["a=interval(0,1)", "a=glob(*)"])
def test_what_cannot_be_listed_is_refused(override: str) -> None:
    with pytest.raises(RequestError, match=r"a=(interval|glob)"):
        axes([override])


@pytest.mark.parametrize("line", ["a='1", "a=[1", "a"])
def test_a_line_that_cannot_be_read_is_named(line: str) -> None:
    with pytest.raises(RequestError) as error:
        line_axes(line, "study=x")
    assert "study=x" in str(error.value)
    assert line in str(error.value)


def names(points: Points, *line: str) -> list[str]:
    return [point.name for point in points(*line)]


def test_sweeps_as_typed(points: Points) -> None:
    assert names(points, "model=llama7b,llama13b", "data.fraction=1,1/4") == [
        "model=llama7b data.fraction=1",
        "model=llama7b data.fraction=1/4",
        "model=llama13b data.fraction=1",
        "model=llama13b data.fraction=1/4",
    ]
    assert len(names(points, "model=glob(llama*)")) == 4
    assert names(points, "action=plan", "plan.output=x.json") == [""]


def test_a_study_and_the_command_line(points: Points) -> None:
    assert len(names(points, "study=quickstart", "action=plan")) == 8
    seeds = points("study=quickstart", "train.seed=0,1")
    assert [point.config.train.seed for point in seeds] == [0, 1] * 8
    only = points("study=quickstart", "strategy=dmt", "strategy.k=0.25")
    assert [point.config.strategy.k for point in only if "strategy.k" in point.name] == ["1/4"] * 1
    two = names(points, "study=table6,quickstart")
    assert [name.split()[0] for name in two] == ["study=table6"] * 5 + ["study=quickstart"] * 8


def test_a_command_line_wins_over_a_studys_own_values(points: Points) -> None:
    (point,) = points("study=table6", "data.fraction=1", "train.epochs=1", "train=mini")
    assert (point.config.train.epochs, point.config.train.precision) == (1, "fp32")
    assert points("study=quickstart")[0].config.model.name == "mini"


def test_a_grid_adds_its_axes(points: Points) -> None:
    assert [point.config.data.fraction for point in points("grid=paper")] == ["1", "1/4", "1/16", "1/64", "1/256"]
    assert [point.config.data.fraction for point in points("grid=paper", "data.fraction=1/3")] == ["1/3"]


def test_points_share_nothing(points: Points) -> None:
    one, other = points("train.seed=0,1")
    one.config.data.sources["math"].rows = 1
    assert other.config.data.sources["math"].rows == 110142


@pytest.mark.parametrize(
    "override",
    [
        "a=range(0,1000000)",
        "a=shuffle(range(0,1000000000000))",
        "a=range(0,1,0.0000001)",
        f"a=range(0,{10**400})",
        "a=range(0,5,0)",
    ],
)
def test_a_range_that_nobody_can_sweep_is_refused_at_once(override: str) -> None:
    with pytest.raises(RequestError, match=r"points are the most of a sweep|write a list of values"):
        axes([override])


def test_a_product_that_nobody_can_sweep_is_refused_at_once() -> None:
    line = {"a": [str(value) for value in range(1000)], "b": [str(value) for value in range(1000)]}
    with pytest.raises(RequestError, match="spans 1,000,000 points; 20,000 are the most"):
        expand([line], {}, "study=large")
