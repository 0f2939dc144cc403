"""What a cluster's configuration alone shows to be wrong: key, value, what is valid, what to type."""

from dataclasses import fields
from typing import Any

import pytest
from common import ROOT, Points
from omegaconf import OmegaConf

from sft_sweeps import ranges
from sft_sweeps.config import cluster_checks
from sft_sweeps.config.checks import problems as everything
from sft_sweeps.config.cluster_schema import ClusterConfig, KindConfig
from sft_sweeps.config.schema import Config
from sft_sweeps.config.train_schema import ModelConfig


def problems(cluster: ClusterConfig, model: ModelConfig) -> list[str]:
    """What the fields' own checks say, and what they ask of each other."""
    return [*ranges.problems(cluster, "cluster."), *cluster_checks.problems(cluster, model)]


MINI = ModelConfig(name="mini", gpus=0)
BIG = ModelConfig(name="llama33b", gpus=16)
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({"time": "soon"}, ["cluster.time=soon is no time limit", "cluster.time=4:00:00"]),
    ({"time": "0"}, ["cluster.time=0 is no time limit"]),
    ({"time": "86400"}, ["86,400 minutes to Slurm", 'time: "24:00:00"', "cluster.time=1440:00:00"]),
    ({"memory": "much"}, ["cluster.memory=much is no size", "cluster.memory=480G"]),
    (
        {"kinds": {"trian": KindConfig()}},
        ["cluster.kinds.trian is no kind of job", "did you mean cluster.kinds.train?"],
    ),
    ({"kinds": {"score": KindConfig(time="x")}}, ["cluster.kinds.score.time=x"]),
    ({"kinds": {"score": KindConfig(memory="x")}}, ["cluster.kinds.score.memory=x"]),
    ({"sbatch": {"partition": "a"}}, ["cluster.sbatch.partition: this flag has a key", "cluster.partition"]),
    ({"sbatch": {"dependency": "a"}}, ["cluster.sbatch.dependency: sft-sweeps sets this flag itself", "leave it out"]),
    ({"sbatch": {"hold": "true"}}, ["cluster.sbatch.hold"]),
    ({"sbatch": {"--mail-user": "a"}}, ["without leading dashes", "+cluster.sbatch.mail-user="]),
    ({"sbatch": {"mail_user": "a"}}, ["+cluster.sbatch.mail-user="]),
    ({"srun": ["--ntasks=4"]}, ["cluster.srun=--ntasks=4: sft-sweeps sets --ntasks itself"]),
    ({"srun": ["mpi pmix"]}, ["is no flag of srun", "cluster.srun=['--mpi=pmix']"]),
    ({"gpu_type": "a 100"}, ["cluster.gpu_type=a 100 is no type", "cluster.gpu_type=a100"]),
    ({"modules": ["cuda; rm -rf"]}, ["cluster.modules=cuda; rm -rf is no module", "[cuda/12.4]"]),
    ({"container": "apptainer 'x"}, ["cluster.container=apptainer 'x is no command", "apptainer exec"]),
    ({"python": "'"}, ["cluster.python=' is no command", "/opt/env/bin/python"]),
    ({"time": None, "memory": "0G"}, ["cluster.memory=0G is no size"]),
    ({"nodes": 2, "processes": 3}, ["cluster.processes=3 cannot be spread", "cluster.processes=4"]),
]


@pytest.mark.parametrize(("changes", "says"), CASES, ids=[str(changes) for changes, _ in CASES])
def test_what_the_text_shows(changes: dict[str, Any], says: list[str]) -> None:
    (text,) = problems(ClusterConfig(name="slurm", **changes), MINI)
    for words in says:
        assert words in text


def test_gpus_that_do_not_divide() -> None:
    (text,) = problems(ClusterConfig(name="slurm", gpus_per_node=6), BIG)
    assert "cluster.gpus_per_node=6 does not divide the 16 GPUs of model=llama33b" in text
    assert "type cluster.gpus_per_node=4" in text
    assert problems(ClusterConfig(name="local", gpus_per_node=6), BIG) == []


def test_what_sites_write_is_fine() -> None:
    good = ClusterConfig(
        name="slurm",
        time="2-00:00:00",
        memory="480G",
        modules=["cuda/12.4", "gcc@13"],
        container="apptainer exec --nv '/images/my torch.sif'",
        python="/opt/env/bin/python",
        sbatch={"mail-user": "me@site", "exclusive": "true", "gres-flags": "enforce-binding"},
        srun=["--mpi=pmix", "--cpu-bind=none"],
        gpu_type="nvidia_a100-sxm4-80gb",
        constraint="a100&nvlink",
        kinds={"score": KindConfig(partition="cpu", memory="", time="30")},
    )
    for model in (MINI, BIG):
        assert problems(good, model) == []


def test_every_kind_of_job_has_its_settings_in_conf(points: Points) -> None:
    """Misspelt ones are unknown keys."""
    kinds = points("cluster=slurm")[0].config.cluster.kinds
    assert list(kinds) == ["encode", "prepare", "train", "merge", "generate", "represent", "score", "judge"]
    assert all(isinstance(kind, KindConfig) for kind in kinds.values())
    assert {field.name for field in fields(KindConfig)} == {
        *("partition", "account", "qos", "constraint", "time", "memory", "cpus", "sbatch")
    }


def test_the_example_of_a_site_is_valid(points: Points) -> None:
    text = OmegaConf.load(ROOT / "conf" / "local" / "default.yaml.example")
    composed = OmegaConf.structured(points("cluster=slurm")[0].config)
    merged = OmegaConf.to_object(OmegaConf.merge(composed, text))
    assert isinstance(merged, Config)
    assert everything(merged) == []
    assert merged.cluster.kinds["score"].partition == "cpu"
    assert merged.cluster.kinds["score"].cpus == 4
