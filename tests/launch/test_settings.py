"""How jobs run, as conf/ says; what a tracked job says of its stage."""

from fractions import Fraction
from pathlib import Path

from common import Points

from sft_sweeps.config.resolve import request
from sft_sweeps.identity import plain, revive
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.missing import missing_work
from sft_sweeps.launch.settings import tracking_of, with_tracking
from sft_sweeps.plan.build import build


def test_a_tracked_job_says_what_people_filter_by(points: Points, tmp_path: Path) -> None:
    line = ("study=quickstart", "tracking=wandb", "tracking.project=p", f"output_dir={tmp_path}")
    swept = points(*line)
    config = swept[0].config
    plan = build([(point.name, request(point.config)) for point in swept])
    jobs = [with_tracking(job, plan, config, "sweep-1") for job in missing_work(plan, config).jobs]
    assert all((job.tracking.name == "wandb") == (job.kind == "train") for job in jobs)
    (dmt,) = [job for job in jobs if job.kind == "train" and job.subject.label.endswith("code@1_4+math@1_4")]
    assert revive(Job, plain(dmt)) == dmt
    axes = dict(dmt.tracking.axes)
    assert axes["model"] == "mini"
    assert (axes["strategy"], axes["k"], axes["seed"]) == ("dmt", "1/4", "0")
    assert {Fraction(axes[f"fraction_{name}"]) for name in ("math", "code")} == {Fraction(1, 4)}
    assert len({tuple(dict(job.tracking.axes)) for job in jobs if job.kind == "train"}) == 1, "runs lack axes"
    assert tracking_of(swept[0].config, "s").project == "p"
    (unnamed, *_) = points(*(word for word in line if "project" not in word))
    assert tracking_of(unnamed.config, "s").project == "quickstart"
    assert (dmt.tracking.group, dmt.tracking.project) == ("sweep-1", "p")
    assert "quickstart" in dmt.tracking.tags
    assert not list(tmp_path.iterdir())
