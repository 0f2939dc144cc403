"""Points composed from parts that many share are those that Hydra composes whole."""

from pathlib import Path

import pytest
from common import sweeper
from omegaconf import OmegaConf

from sft_sweeps.config.schema import Config

ALIKE = [
    [],
    ["model=llama7b", "strategy=dmt", "strategy.k=1/4", "data.fraction=1/16", "train.seed=3"],
    ["study=quickstart", "strategy=sequential", "data.sources.math.rows=96", "data.sources.code.rows=64"],
    ["study=table1", "data.fractions.general=1/64", "output_dir=x y", "cluster.kinds.train.memory=1G"],
    ["train=mini", "evaluate=mini", "evaluate.benchmarks=[mini_code]", "name=a", "store.read_from=[/a,/b]"],
    ["cluster=slurm_a100", "cluster.modules=[cuda/12.4]", "plan.output=null", "data.fraction=0.25"],
]


@pytest.mark.parametrize("overrides", ALIKE, ids=" ".join)
def test_parts_make_the_whole(overrides: list[str]) -> None:
    made, whole = sweeper().assembled(overrides), OmegaConf.to_object(sweeper().compose(overrides))
    assert isinstance(made, Config)
    assert made == whole


def test_a_value_that_refers_to_another_follows_it() -> None:
    """train.virtual_devices is the model's unless it is set."""
    overrides = ["train=paper", "model=llama7b", "model.virtual_devices=4"]
    assert sweeper().assembled(overrides) is None
    _, config = sweeper().point(overrides)
    assert isinstance(config, Config)
    assert (config.model.virtual_devices, config.train.virtual_devices) == (4, 4)
    _, others = sweeper().point(["train=paper", "model=llama33b"])
    assert isinstance(others, Config)
    assert others.train.virtual_devices == 16


@pytest.mark.parametrize(
    "wrong", ["train.sed=1", "train.seed=x", "nothing=1", "data.sources.maths.rows=1", "+train.x=1"]
)
def test_what_is_wrong_is_left_to_the_whole(wrong: str) -> None:
    assert sweeper().assembled([wrong]) is None
    assert isinstance(sweeper().point([wrong])[1], Exception)


@pytest.mark.parametrize(
    "override",
    [
        "output_dir=${oc.env:A_SECRET}",
        "name='x-${oc.env:A_SECRET,none}'",
        "evaluate.mt_bench.judge.base_url='http://${oc.env:A_SECRET}/v1'",
        "name='${oc.decode:${oc.env:A_SECRET}}'",
        "store.read_from=['${oc.env:A_SECRET}']",
    ],
)
def test_no_value_of_the_environment_gets_into_a_configuration(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret")
    _, error = sweeper().point(["study=quickstart", override])
    assert isinstance(error, Exception)
    assert "would keep the value of A_SECRET with the sweep" in str(error)
    assert "s3cret" not in f"{error} {error.__cause__}"


def test_a_folder_of_the_environment_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.delenv("NOT_SET", raising=False)
    where = "output_dir='${oc.env:SCRATCH}/${oc.env:NOT_SET,none}'"
    _, config = sweeper().point(["study=quickstart", where])
    assert isinstance(config, Config)
    assert config.output_dir == f"{tmp_path}/none"
