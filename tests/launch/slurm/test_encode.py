"""The job that encodes, on a real Slurm: nothing starts before it, and nothing at all where it fails."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from slurm_site import LONG, Site

from sft_sweeps.jobs import submissions
from sft_sweeps.store.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    yield Site(cluster, Store(tmp_path / "slurm"))
    cluster.run("scancel", "-u", "root")


def rows(path: Path, good: int, bad: int = 0) -> Path:
    """A file that is too long to be looked at before it is given to a job."""
    text = "".join(json.dumps({"question": f"{n}?", "answer": f"{n} " * 400}) + "\n" for n in range(good))
    path.write_text(text + '{"x": 0}\n' * bad)
    assert path.stat().st_size > 8 << 20
    return path


def line(path: Path, name: str) -> tuple[str, ...]:
    return (
        *("-m", "model=mini", "data=math", "train=mini", "train.epochs=1", "evaluate=none", "tracking=none"),
        *("data.fraction=1/200,1/400", f"data.sources.math.path={path}", f"name={name}", "cluster=slurm"),
        *("cluster.time=120", "cluster.kinds.encode.cpus=2"),
    )


def numbers(site: Site, name: str) -> dict[str, str]:
    return {job: found.number for job, found in submissions.latest(site.sweep(name).folder).items()}


def test_nothing_starts_before_the_sources_are_encoded(site: Site, tmp_path: Path) -> None:
    wanted = line(rows(tmp_path / "ours.jsonl", 6000, 9), "first")
    out = site.launch(*wanted)
    assert "submitted 4 jobs in 3 sbatch calls (1 to encode, 1 to prepare, 2 to train)" in out
    assert "one job without GPUs encodes first: ours; 1 job waits for it" in out
    found = numbers(site, "first")
    (encoding,), (preparing,) = ([job for job in found if job.startswith(kind)] for kind in ("encode", "prepare"))
    text = site.cluster.run("scontrol", "show", "job", found[preparing]).stdout
    assert f"Dependency=afterok:{found[encoding]}(" in text
    assert "already" in site.launch(*wanted)  # it is on its way, and not submitted again
    assert numbers(site, "first") == found
    status = site.ended("first")
    assert {stage["state"] for stage in status["stages"]} == {"done"}, json.dumps(status, indent=1)
    assert status["jobs"] == []
    log = site.command("logs", "mini", "--kind", "encode").stdout
    assert "ours: 6,000 examples of 6,009 rows" in log
    assert "ours: 9 of 6,009 rows dropped: 9 unknown fields" in log
    assert "encoded first" not in (out := site.launch(*wanted, "action=plan"))
    assert "note ours: 9 of 6,009 rows dropped: 9 unknown fields" in out


def test_where_it_fails_nothing_starts_and_everything_says_why(site: Site, tmp_path: Path) -> None:
    wanted = line(rows(tmp_path / "ours.jsonl", 6000, 3000), "bad")
    site.launch(*wanted)
    status = site.ended("bad", LONG)
    reason = "source ours: 3,000 of the 9,000 rows"
    (encoding,) = [job for job in status["jobs"] if job["kind"] == "encode"]
    assert encoding["state"] == "failed"
    assert encoding["why"].startswith(reason)
    found = numbers(site, "bad")
    states = site.cluster.queue()
    assert states[found[encoding["id"]]] == "FAILED"
    assert {states[number] for job, number in found.items() if job != encoding["id"]} == {"CANCELLED"}
    assert all("its parent" in stage["why"] for stage in status["stages"]), json.dumps(status, indent=1)
    assert reason in site.command("logs", "mini", "--kind", "encode").stdout
    assert "submitted 4 jobs" in site.launch(*wanted, "data.sources.math.max_bad_fraction=0.5")
    assert {stage["state"] for stage in site.ended("bad")["stages"]} == {"done"}


@pytest.mark.long  # two launches and one encoding, here: jobs/test_encoding.py
def test_another_sweep_of_the_same_sources_waits_for_them(site: Site, tmp_path: Path) -> None:
    """Its own job looks after them when the other one's has ended, however that was."""
    path, held = rows(tmp_path / "ours.jsonl", 6000), "+cluster.sbatch.begin=now+1hour"
    site.launch(*line(path, "one"), held)
    other = (*line(path, "two"), "train.learning_rate=0.01", held)
    out = site.launch(*other)
    first, second = numbers(site, "one"), numbers(site, "two")
    (encoding,) = [job for job in first if job.startswith("encode")]
    text = site.cluster.run("scontrol", "show", "job", second[encoding]).stdout
    assert f"Dependency=afterany:{first[encoding]}(" in text
    trained = [number for job, number in second.items() if job.startswith("train")]
    assert len(trained) == 2
    assert "1 to encode" in out
    out = site.command("cancel", "one", "--yes").stdout
    assert "cancelled 2 jobs: 2 train" in out
    assert (
        f"left {encoding} (job {first[encoding]}): sweep {site.sweep('two').name} needs it" in out
    )  # the base model's
    queue = site.cluster.queue()
    assert {queue[number] for number in (*second.values(), first[encoding])} == {"PENDING"}
