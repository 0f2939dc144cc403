"""Every shipped study says in its header what it asks, feeds, is typed as, counts and costs; the plan says the same."""

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml
from common import ROOT, Points, sweeper

from sft_sweeps.launch.points import check, planned
from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.serialize import totals

STUDIES = {path.stem: path for path in sorted((ROOT / "conf" / "study").glob("*.yaml"))}
FIELDS = ("Question", "Feeds", "Command", "Counts")


def header(path: Path) -> dict[str, str]:
    """`# Key: value` at the top of a study, values over several lines joined."""
    found: dict[str, str] = {}
    last = ""
    for line in path.read_text().splitlines()[1:]:
        if not line.startswith("#"):
            return found
        key, colon, value = line.removeprefix("# ").partition(": ")
        if colon and key in (*FIELDS, "Cost"):
            last, found[key] = key, value
        elif last and line.startswith("#   "):
            found[last] += " " + line.removeprefix("#   ")
        else:
            last = ""
    return found


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


@pytest.fixture(scope="session")
def plan_of(points: Points) -> Callable[[str], Plan]:
    @cache
    def plan(study: str) -> Plan:
        made = points(f"study={study}")
        check(made)
        return planned(made)

    return plan


@pytest.mark.parametrize("study", STUDIES)
def test_a_header_says_what_the_plan_says(study: str, plan_of: Callable[[str], Plan]) -> None:
    says = header(STUDIES[study])
    assert all(says.get(field) for field in FIELDS)
    body = yaml.safe_load(STUDIES[study].read_text())["study"]
    assert (says["Question"].lower(), study) == (body["question"].lower(), body["name"])
    assert says["Command"].split("    ")[0].split() == ["python", "launch.py", f"study={study}"]
    total = totals(plan_of(study), {})
    counted = [total[key] for key in ("runs", "distinct_runs", "stages_naive", "stages")]
    assert numbers(says["Counts"])[:4] == counted
    if "A100-hours" in says.get("Cost", ""):
        whole = [round(total[key]) for key in ("gpu_hours", "gpu_hours_naive", "disk_gb")]
        assert numbers(says["Cost"].replace("A100", ""))[:3] == whole


@pytest.mark.parametrize("study", STUDIES)
def test_every_run_is_scored_and_every_claim_is_about_runs_that_there_are(
    study: str, plan_of: Callable[[str], Plan]
) -> None:
    plan = plan_of(study)
    assert {run.id for run in plan.runs} <= {score.generation.subject.id for score in plan.scores}
    names = {score.generation.benchmark.name for score in plan.scores}
    for claim in plan.hypotheses:
        assert claim.pairs, claim
        assert claim.benchmark in names, claim


def test_the_papers_evaluation_is_that_of_its_tables(plan_of: Callable[[str], Plan]) -> None:
    """Whatever is the default: each of the tables' and figures' files names it, so that they share their scores."""
    scores = {score.id for score in plan_of("paper").scores}
    for study in ("table1", "table6", "figure3", "figure7"):
        assert {score.id for score in plan_of(study).scores} <= scores


def test_what_tells_the_other_recipes_apart(plan_of: Callable[[str], Plan]) -> None:
    """batch128 is the paper's runs and nothing of them; ScRel's is another recipe on two data sets."""
    paper, large, screl = plan_of("paper"), plan_of("batch128"), plan_of("screl")
    assert not {stage.id for stage in paper.stages} & {stage.id for stage in large.stages}
    assert [s.mixture for s in paper.stages] == [s.mixture for s in large.stages]
    assert {s.recipe.batch_size for s in large.stages} == {128}
    recipes = {
        (s.recipe.template, s.recipe.batch_size, s.recipe.max_length, s.recipe.learning_rate) for s in screl.stages
    }
    assert recipes == {("alpaca", 128, 512, 2e-5)}
    assert {s.recipe.virtual_devices for s in screl.stages} == {32, 64, 128}
    assert {c.source.rows for s in screl.stages for c in s.mixture.components} == {110_142, 7_473}


def test_every_k_of_the_paper_and_none(plan_of: Callable[[str], Plan]) -> None:
    runs = [run for run in plan_of("dmt_k").runs if run.model.name == "llama7b"]
    assert {str(run.k) for run in runs} == {"1", "1/2", "1/4", "1/8", "1/16", "1/32", "1/64", "1/256", "None"}
    assert len({run.stages[0].id for run in runs}) == 1


def test_the_paper_shares_nothing_less_than_was_counted_by_hand(plan_of: Callable[[str], Plan]) -> None:
    """Of 109 rows, as of the tables' 123, 93 runs and 99 stages are distinct (counted from the published tables)."""
    plan = plan_of("paper")
    assert (plan.rows, len(plan.runs), plan.stages_naive, len(plan.stages)) == (123, 93, 151, 99)
    several = [run for run in plan.runs if len({point.split()[0] for point in run.points}) > 1]
    assert (
        f"{len(several)} runs are rows of several studies, e.g. llama7b math only (table1, table2, table5)"
        in plan.notes
    )


@pytest.mark.slow
def test_the_example_of_the_page_is_a_study(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"(?:^    .*\n|^\n)+(?=^`# @package)", (ROOT / "docs" / "studies.md").read_text(), re.MULTILINE
    )
    lines = [line.removeprefix("    ") for line in text.strip("\n").splitlines() if "# conf/study" not in line]
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf, ignore=shutil.ignore_patterns("local"))
    (conf / "study" / "mine.yaml").write_text("\n".join(lines) + "\n")
    points = sweeper(conf).sweep(["study=mine"])
    assert len(points) == 7 * 3 + 3
    check(points)
    (claim,) = [one for one in planned(points).hypotheses if "Half" in one.claim]
    assert len(claim.pairs) == 3
