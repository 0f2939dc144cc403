"""What each kind of job asks Slurm for, down to the batch script."""

import os
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import goldens
import pytest
from common import Points
from submitit import SlurmExecutor
from values import benchmark, model, source, stage

from sft_sweeps.config.cluster_schema import ClusterConfig, KindConfig
from sft_sweeps.config.resolve import request
from sft_sweeps.execution import AnswerExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.launch.answering import held, replica_gpus
from sft_sweeps.launch.slurm.resources import (
    Resources,
    limit,
    megabytes,
    resources,
    sbatch_parameters,
)
from sft_sweeps.spec.evaluation import Engine, Generation, Queries, Representations
from sft_sweeps.spec.training import Model

GOLDEN = Path(__file__).parent / "golden"
MODELS = ("llama7b", "llama13b", "llama33b")


@pytest.fixture
def models(points: Points) -> dict[str, Model]:
    """As conf/ has them."""
    return {name: request(points(f"model={name}", "data=math")[0].config).model for name in MODELS}


def composed(points: Points, *overrides: str) -> ClusterConfig:
    return points(*overrides)[0].config.cluster


def job(kind: Any, base: Model, dtype: str = "bf16", processes: int = 1, backend: str = "hf") -> Job:
    """A job as `missing` makes it."""
    made = stage(base)
    subject = base if kind == "prepare" else made
    asked = (Generation(made, benchmark(), Engine(backend, "5", dtype)),) if kind in ("generate", "score") else ()
    execution = KINDS[kind].execution()
    if kind == "train":
        execution = replace(execution, processes=max(base.gpus, processes))
    return Job(kind, "/store", subject, execution, asked)


@pytest.mark.parametrize(
    ("name", "per_node", "nodes", "each"),
    [
        ("llama7b", 8, 1, 8),
        ("llama13b", 8, 1, 8),
        ("llama33b", 8, 2, 8),
        ("llama13b", 4, 2, 4),
        ("llama33b", 4, 4, 4),
        ("llama33b", 16, 1, 16),
    ],
)
def test_a_stage_has_one_process_for_each_gpu(
    name: str, per_node: int, nodes: int, each: int, models: dict[str, Model]
) -> None:
    found = resources(job("train", models[name]), ClusterConfig(gpus_per_node=per_node, cpus_per_gpu=6))
    assert (found.nodes, found.tasks_per_node, found.gpus_per_node) == (nodes, each, each)
    assert found.gpus == models[name].gpus
    assert found.cpus_per_task == 6


@pytest.mark.parametrize(("nodes", "processes", "each"), [(1, 1, 1), (1, 4, 4), (2, 4, 2), (2, 2, 1)])
def test_a_stage_without_gpus_spreads_over_nodes(nodes: int, processes: int, each: int) -> None:
    found = resources(
        job("train", model(), processes=processes), ClusterConfig(nodes=nodes, threads=3, gpu_type="a100")
    )
    assert (found.nodes, found.tasks_per_node, found.cpus_per_task) == (nodes, each, 3)
    assert (found.gpus, found.gpu_type) == (0, "")


@pytest.mark.parametrize(
    ("name", "dtype", "gigabytes", "gpus"),
    [
        ("llama7b", "bf16", 80, 1),
        ("llama13b", "bf16", 80, 1),
        ("llama33b", "bf16", 80, 2),
        ("llama7b", "bf16", 40, 1),
        ("llama13b", "bf16", 40, 1),
        ("llama33b", "bf16", 40, 4),
        ("llama7b", "bf16", 16, 2),
        ("llama13b", "fp32", 80, 1),
        ("llama13b", "fp32", 40, 2),
        ("llama33b", "fp32", 80, 4),
        ("llama33b", "fp32", 24, 8),
        ("llama33b", "vllm", 80, 2),
        ("llama33b", "vllm", 24, 4),
        ("llama33b", "vllm", 20, 4),  # 8 do not divide 52 heads; the check before submission refuses it
    ],
)
def test_gpus_that_answer(name: str, dtype: str, gigabytes: float, gpus: int, models: dict[str, Model]) -> None:
    cluster = ClusterConfig(gpu_memory_gb=gigabytes)
    asked = job("generate", models[name], *(("bf16", 1, "vllm") if dtype == "vllm" else (dtype,)))
    found = resources(asked, cluster)
    assert (found.nodes, found.tasks_per_node, found.gpus_per_node) == (1, 1, gpus)
    assert found.cpus_per_task == gpus * cluster.cpus_per_gpu
    fewer = [n for n in (1, 2, 4) if n < gpus]
    assert not any(held(asked).fits(n, gigabytes) for n in fewer)  # the fewest
    assert replica_gpus(asked, replace(cluster, gpus_per_node=1)) == 1  # of one node
    several = resources(asked, replace(cluster, replicas=8 // gpus))
    assert several.gpus_per_node == 8 // gpus * gpus


def test_replicas_multiply_what_one_needs(models: dict[str, Model]) -> None:
    """Each reads the weights through memory of its own; without GPUs each has threads of its own."""
    cluster = ClusterConfig(replicas=4, kinds={"generate": KindConfig(memory="120G")})
    found = resources(job("generate", models["llama33b"]), cluster)
    assert (found.gpus_per_node, found.cpus_per_task, found.memory) == (8, 64, "491520M")
    alone = resources(job("generate", models["llama33b"]), replace(cluster, replicas=0))
    assert (alone.gpus_per_node, alone.cpus_per_task, alone.memory) == (2, 16, "120G")
    plain = job("generate", model())
    plain = replace(plain, execution=replace(plain.execution, replicas=3))
    found = resources(plain, ClusterConfig(replicas=3, threads=2))
    assert (found.gpus_per_node, found.tasks_per_node, found.cpus_per_task) == (0, 1, 6)
    assert resources(job("train", models["llama7b"]), cluster).gpus_per_node == 8


def test_representations_are_taken_on_the_fewest_gpus_that_hold_a_model(models: dict[str, Model]) -> None:
    """As one replica answers, however many replicas answer side by side; without GPUs on the cores of one process."""
    for name, gpu_memory in (("llama7b", 80.0), ("llama33b", 40.0), ("llama33b", 80.0)):
        cluster = ClusterConfig(gpu_memory_gb=gpu_memory, replicas=2, cpus_per_gpu=8)
        subject = models[name]
        made = Queries(source(), 100, 0, "vicuna_v1.1", 2048)
        asked = Representations(subject, made, 15, "last", "bf16")
        found = resources(Job("represent", "/store", subject, AnswerExecution(), analyses=(asked,)), cluster)
        size = {("llama7b", 80.0): 1, ("llama33b", 40.0): 4, ("llama33b", 80.0): 2}[name, gpu_memory]
        assert (found.nodes, found.gpus_per_node, found.cpus_per_task) == (1, size, 8 * size)
    small = replace(models["llama7b"], gpus=0)
    job = Job("represent", "/store", small, AnswerExecution(replicas=3), analyses=(asked,))
    assert (job.width, resources(job, ClusterConfig(threads=2)).cpus_per_task) == (1, 2)


@pytest.mark.parametrize("kind", ["prepare", "score"])
def test_neither_preparing_nor_scoring_has_a_gpu(kind: str, models: dict[str, Model]) -> None:
    cluster = ClusterConfig(gpu_type="a100", memory="0", kinds={"score": KindConfig(cpus=16, memory="8G")})
    for base in (model(), *models.values()):
        found = resources(job(kind, base), cluster)
        assert (found.nodes, found.tasks_per_node, found.gpus, found.gpu_type) == (1, 1, 0, "")
        assert (found.cpus_per_task, found.memory) == ((16, "8G") if kind == "score" else (4, ""))


@pytest.mark.parametrize(
    ("memory", "own", "gpus", "expected"),
    [
        (None, None, 8, ""),
        ("0", None, 8, "0"),
        ("480G", None, 8, "480G"),
        ("480G", None, 4, "245760M"),
        ("480G", None, 16, "480G"),
        ("0", None, 4, ""),  # all of a node is not for half of its GPUs
        ("480G", "0", 4, "0"),
        ("480G", "", 8, ""),
        ("480G", "10G", 0, "10G"),
        ("480G", None, 0, ""),
    ],
)
def test_memory(memory: str | None, own: str | None, gpus: int, expected: str) -> None:
    """The cluster's is a whole node's: some of its GPUs get their share of it, jobs without GPUs what is their own."""
    cluster = ClusterConfig(memory=memory, kinds={"train": KindConfig(memory=own)})
    assert resources(job("train", model(gpus=gpus)), cluster).memory == expected


@pytest.mark.parametrize(("text", "expected"), [("", 0), ("0", 0), ("64000M", 64000), ("2G", 2048), ("1T", 1 << 20)])
def test_megabytes(text: str, expected: int) -> None:
    assert megabytes(text) == expected


@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint"])
@pytest.mark.parametrize(
    ("common", "own", "expected"),
    [(None, None, ""), ("a", None, "a"), ("a", "b", "b"), (None, "b", "b"), ("a", "", "")],
)
def test_a_kind_of_job_inherits_what_it_does_not_set(
    key: str, common: str | None, own: str | None, expected: str
) -> None:
    cluster = ClusterConfig(kinds={"score": KindConfig(**{key: own})}, **{key: common})  # type: ignore[arg-type]
    assert getattr(resources(job("score", model()), cluster), key) == expected
    assert getattr(resources(job("train", model()), cluster), key) == (common or "")


def test_time_limits_by_kind() -> None:
    cluster = ClusterConfig(time="1-12:00:00", kinds={"score": KindConfig(time="90"), "train": KindConfig()})
    assert [limit(kind, cluster) for kind in ("train", "score", "judge")] == [36 * 60, 90, 36 * 60]


def test_jobs_of_one_array_have_equal_resources(points: Points, models: dict[str, Model]) -> None:
    """7B and 13B go into one array, 33B into another, and scores of all of them into a third."""
    cluster = composed(points, "cluster=slurm_a100")
    trained = [resources(job("train", base), cluster) for base in models.values()]
    assert len({*trained}) == 2
    assert trained[0] == trained[1]
    assert len({resources(job("score", base), cluster) for base in models.values()}) == 1


SITE = (
    "cluster=slurm_a100",
    "cluster.partition=gpu",
    "cluster.account=lab",
    "cluster.qos=normal",
    "cluster.constraint=nvlink",
    "cluster.modules=[cuda/12.4,gcc]",
    "cluster.setup=['export NCCL_SOCKET_IFNAME=ib0']",
    "cluster.container='apptainer exec --nv /images/torch.sif'",
    "cluster.srun=['--mpi=pmix']",
    "+cluster.sbatch={exclusive: true, mail-user: me@site}",
    "cluster.kinds.score.partition=cpu",
    "cluster.kinds.score.constraint=''",
)
# Name of the script: kind of job, model, overrides.
SCRIPTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "train-7b": ("train", "llama7b", ("cluster=slurm_a100",)),
    "train-13b-nodes-of-4": ("train", "llama13b", ("cluster=slurm_a100", "cluster.gpus_per_node=4")),
    "train-33b": ("train", "llama33b", ("cluster=slurm_a100",)),
    "generate-7b": ("generate", "llama7b", ("cluster=slurm",)),
    "generate-33b-40gb": ("generate", "llama33b", ("cluster=slurm_a100_40gb",)),
    "score-33b": ("score", "llama33b", ("cluster=slurm_a100", "cluster.kinds.score.partition=cpu")),
    "train-33b-site": ("train", "llama33b", SITE),
    "score-7b-site": ("score", "llama7b", SITE),
}


def script(wanted: Resources, cluster: ClusterConfig, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """The text that submitit gives to sbatch."""
    (folder / "srun").write_text("#!/bin/sh\n")  # submitit wants to see one
    (folder / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    executor = SlurmExecutor(folder=folder / "slurm", python=f"{cluster.container} python".strip())
    executor.update_parameters(job_name="sweep.call", **sbatch_parameters(wanted, cluster))
    text = executor._make_submission_file_text(executor._submitit_command_str, "id")
    return text.replace(str(folder), "/sweep")


@pytest.mark.parametrize("name", SCRIPTS)
def test_batch_scripts(
    name: str, points: Points, models: dict[str, Model], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Compared whole."""
    kind, base, overrides = SCRIPTS[name]
    cluster = composed(points, *overrides)
    text = script(resources(job(kind, models[base]), cluster), cluster, monkeypatch, tmp_path)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    goldens.compare(GOLDEN / f"{name}.sbatch", text)


def test_every_golden_script_is_compared() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sbatch")} == set(SCRIPTS)


def test_resources_are_all_asked_for() -> None:
    """A field that no flag carries would be silently ignored."""
    whole = Resources(2, 4, 4, 7, "a100", "5G", 11, "part", "acc", "quality", "feature")
    values = [str(value) for value in sbatch_parameters(whole, ClusterConfig()).values()]
    flags = sbatch_parameters(replace(whole, sbatch=(("nice", "5"),)), ClusterConfig())["additional_parameters"]
    assert flags["nice"] == "5"
    for field in fields(Resources):
        if field.name == "sbatch":
            continue
        value = f"a100:{whole.gpus_per_node}" if field.name.startswith("gpu") else str(getattr(whole, field.name))
        assert value in values, field.name


@pytest.mark.parametrize(
    ("changes", "environment", "works"),
    [
        ({}, {}, True),
        ({"setup": ["export A=1", "true"]}, {}, True),
        ({"setup": ["false"]}, {}, False),
        ({"setup": ["no_such_command_here"]}, {}, False),
        ({"setup": ["false || true"]}, {}, True),
        ({"modules": ["cuda"]}, {"BASH_FUNC_module%%": "() { test $2 = cuda; }"}, True),
        ({"modules": ["other"]}, {"BASH_FUNC_module%%": "() { test $2 = cuda; }"}, False),
        ({"modules": ["cuda"]}, {}, False),  # no such command, here not even in /etc/profile
    ],
)
def test_a_job_whose_environment_fails_does_not_work(
    changes: dict[str, list[str]], environment: dict[str, str], works: bool
) -> None:
    wanted = Resources(1, 1, 0, 1, "", "", 1, "", "", "", "")
    lines = sbatch_parameters(wanted, ClusterConfig(**changes))["setup"]  # type: ignore[arg-type]
    text = "\n".join([*lines, "false", "echo worked"])  # what fails later is not set -e's to end
    done = subprocess.run(
        ["bash"],
        input=text,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout == "worked\n", done.returncode == 0) == (works, works), done


@pytest.mark.parametrize(
    ("way", "train", "answer"),
    [
        ("gpus_per_node", {"gpus_per_node": "a100:8"}, {"gpus_per_node": "a100:1"}),
        ("gres", {"gres": "gpu:a100:8"}, {"gres": "gpu:a100:1"}),
        ("gpus_per_task", {"gpus_per_task": "a100:1"}, {"gpus_per_task": "a100:1"}),
        ("none", {}, {}),
    ],
)
def test_gpus_are_asked_for_as_the_site_wants_it(
    way: str, train: dict[str, str], answer: dict[str, str], models: dict[str, Model]
) -> None:
    cluster = ClusterConfig(name="slurm", gpu_type="a100", gpu_request=way)
    for kind, wanted in (("train", train), ("generate", answer), ("score", {})):
        made = sbatch_parameters(resources(job(kind, models["llama7b"]), cluster), cluster)
        assert {key: value for key, value in made.items() if key.startswith(("gpus", "gres"))} == wanted
        assert ("--gpu-bind=none" in made["srun_args"]) == (way == "gpus_per_task" and kind != "score")


def test_flags_of_a_kind_reach_that_kind_alone(points: Points, models: dict[str, Model]) -> None:
    """Beside the cluster's, before them, and an empty one takes the cluster's back."""
    line = ("+cluster.sbatch={nice: '5', exclusive: 'true'}", "+cluster.kinds.score.sbatch={nice: '', licenses: 'x'}")
    cluster = composed(points, "cluster=slurm", *line)
    flags = {
        kind: sbatch_parameters(resources(job(kind, models["llama7b"]), cluster), cluster)["additional_parameters"]
        for kind in ("train", "score")
    }
    own = {
        kind: {key: found[key] for key in ("nice", "exclusive", "licenses") if key in found}
        for kind, found in flags.items()
    }
    assert own == {"train": {"nice": "5", "exclusive": True}, "score": {"exclusive": True, "licenses": "x"}}
