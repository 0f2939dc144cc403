"""What is composed entry by entry is what Hydra composes whole, or it is left to Hydra."""

import shutil
from pathlib import Path

import pytest
from common import ROOT, sweeper
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sft_sweeps.config.checks import problems
from sft_sweeps.config.choices import groups
from sft_sweeps.config.compose import Composer
from sft_sweeps.errors import RequestError

CONF = ROOT / "conf"
CHOICES = {group: names for group, names in groups([CONF]).items() if group not in ("benchmark", "source", "local")}
VALUES = (
    *("train.seed=3", "train.batch_size=128", "train.virtual_devices=4", "train.max_length=null"),
    *("model.virtual_devices=4", "model.shape.layers=2", "model.folder=/a", "model.gpus=x"),
    *("data.fraction=1/16", "data.fraction=0.25", "data.fractions.general=1/64", "data.fractions.gnral=1"),
    *("data.sources.math.rows=96", "strategy.k=1/4", "evaluate.benchmarks=[gsm8k]", "evaluate.gsm8k.path=x y"),
    *("cluster.kinds.train.memory=1G", "cluster.modules=[cuda/12.4]", "store.read_from=[/a,/b]", "name=a", "nothing=1"),
    *(
        "name=5",
        "name=.5",
        "name=null",
        "name=[a]",
        "output_dir=5",
        "output_dir=true",
        "action=1",
        "cluster.account=123",
    ),
    *(
        "+train.x=1",
        "~strategy.k",
        "output_dir='${model.name}'",
        "source@data.sources.math=gsm8k",
        "hydra.verbose=true",
    ),
)


def agrees(composer: Composer, overrides: list[str]) -> bool:
    """Whether the overrides are composed entry by entry; asserts that this gives what Hydra gives.

    A name that Hydra refuses below one of the user's own (data.fractions.NAME) may get through: our own check knows
    what it should have been.
    """
    quick = composer.quick(overrides)
    if quick is None:
        return False
    try:
        whole = OmegaConf.to_object(composer.whole(overrides))
    except HydraException:
        assert problems(quick), overrides
    else:
        assert quick == whole
        assert quick is not composer.quick(overrides)
    return True


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """Choices of a few groups and a few values, each key once, as a point of a sweep has them."""
    chosen = draw(st.lists(st.sampled_from(sorted(CHOICES)), unique=True, max_size=4))
    typed = [f"{group}={draw(st.sampled_from(CHOICES[group]))}" for group in chosen]
    values = draw(st.lists(st.sampled_from(VALUES), unique_by=lambda text: text.partition("=")[0], max_size=3))
    return draw(st.permutations([*typed, *values]))


@settings(max_examples=6)
@given(lines())
def test_any_line_is_composed_as_hydra_does(line: list[str]) -> None:
    agrees(sweeper().composer, line)


@pytest.mark.slow
@settings(max_examples=50)
@given(lines())
def test_many_lines_are_composed_as_hydra_does(line: list[str]) -> None:
    agrees(sweeper().composer, line)


@pytest.mark.slow
@pytest.mark.parametrize("study", CHOICES["study"])
def test_every_value_of_a_study_is_composed_as_hydra_does(study: str) -> None:
    """And each entry by entry, which is what makes planning quick: the first point that has it."""
    lines = [line.overrides for line in sweeper().expand({"study": [study]})]
    first = {value: at for at, line in reversed([*enumerate(lines)]) for value in line}
    assert first
    assert all(agrees(sweeper().composer, lines[at]) for at in {*first.values()})


@pytest.mark.parametrize(
    "line",
    [
        ["study=table1", "model=llama33b", "strategy=dmt", "strategy.k=1/256"],
        ["study=quickstart", "strategy=sequential", "data.sources.math.rows=96", "data.sources.code.rows=64"],
        ["debug=few_steps", "study=table2", "data=mixed_clean", "cluster=slurm_a100_40gb", "data.fraction=1/4"],
    ],
    ids=" ".join,
)
def test_usual_lines_are_composed_entry_by_entry(line: list[str]) -> None:
    assert agrees(sweeper().composer, line)


@pytest.mark.parametrize("value", [text for text in VALUES if text.startswith(("name=", "output_dir=", "action="))])
def test_values_of_no_group_have_their_type(value: str) -> None:
    agrees(sweeper().composer, ["model=mini", value])


def test_a_value_that_refers_to_another_follows_it() -> None:
    """train.virtual_devices is the model's unless it is set."""
    composer = sweeper().composer
    overrides = ["train=paper", "model=llama7b", "model.virtual_devices=4"]
    assert composer.quick(overrides) is None
    config = composer.config(overrides)
    assert (config.model.virtual_devices, config.train.virtual_devices) == (4, 4)
    assert composer.config(["train=paper", "model=llama33b"]).train.virtual_devices == 16


@pytest.mark.parametrize(
    "wrong", ["train.sed=1", "train.seed=x", "nothing=1", "data.sources.maths.rows=1", "+train.x=1", "model=llama8b"]
)
def test_what_is_wrong_is_left_to_the_whole(wrong: str) -> None:
    composer = sweeper().composer
    assert composer.quick([wrong]) is None
    with pytest.raises((HydraException, OmegaConfBaseException, RequestError)):
        composer.config([wrong])


# Files in which a choice decides about more than its own entry, and lines that use them: the first ones entry by entry.
UNUSUAL = {
    "source/by_wandb.yaml": "defaults: [gsm8k]\nrows: 7",
    "source/by_none.yaml": "defaults: [gsm8k]\nrows: 8",
    "data/by_tracking.yaml": "defaults: [{/source@sources.math: 'by_${tracking}'}]\nfractions: {math: 1/2}",
    "data/gold.yaml": "defaults: [mixed, {override /source@sources.math: gsm8k}]",
    "train/by_model.yaml": "defaults: [paper]\nseed: ${model.gpus}\nepochs: ${oc.select:model.shape.layers}",
    "model/and_train.yaml": "# @package _global_\ntrain: {seed: 5}\nmodel: {name: x, weights: init, "
    "gpus: 0, shape: {layers: 1, hidden_size: 4, intermediate_size: 4, heads: 1, kv_heads: 1, vocab_size: 9, "
    "max_positions: 64}}",
    "model/elsewhere.yaml": "defaults: [mini, {/source@data.sources.extra: mini_code}]",
    "model/choosing.yaml": "defaults: [llama7b, {override /evaluate@_global_.evaluate: heldout_loss}]",
    "study/golds.yaml": "# @package _global_\ndefaults: [{override /source@data.sources.math: gsm8k}]",
    "study/chosen.yaml": "# @package _global_\ndefaults: [{override /model: choosing}]",
    "study/recipe.yaml": "# @package _global_\ndefaults: [{override /train: mini}]\ntrain: {batch_size: 128}\n"
    "model: {gpus: 2}\nstudy: {name: recipe}",
    "strategy/own.yaml": "defaults: [dmt]\nk: 1/2",
}
UNUSUAL_LINES = [
    ["data=by_tracking", "tracking=none"],
    ["data=by_tracking"],
    ["data=gold", "data.fraction=1/4"],
    ["data=gold", "model=mini", "source@data.sources.code=mini_code"],
    ["model=elsewhere", "data=mini"],
    ["model=choosing", "data=math", "strategy=own"],
    ["model=choosing", "evaluate=mini"],
    ["study=chosen", "model=llama7b", "data=mini"],
    ["study=chosen", "evaluate=paper"],
    ["study=golds", "data=math"],
    ["study=golds", "data=mini", "model=mini"],
    ["study=golds", "data=code"],
    ["study=recipe", "train=paper", "model=llama13b"],
    ["study=recipe", "model.gpus=4"],
    ["strategy=own", "model=mini"],
    ["model=and_train", "train=mini"],
    ["train=by_model", "model=mini"],
]


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """A conf/ with such files, and with a site's own defaults."""
    conf = tmp_path_factory.mktemp("unusual") / "conf"
    shutil.copytree(CONF, conf, ignore=shutil.ignore_patterns("local"))
    (conf / "local").mkdir()
    (conf / "local" / "default.yaml").write_text("defaults: [{override /cluster: slurm_a100}]\ntrain: {seed: 11}\n")
    for name, text in UNUSUAL.items():
        (conf / name).write_text(text)
    return sweeper(conf).composer


@pytest.mark.parametrize("line", UNUSUAL_LINES, ids=" ".join)
def test_what_reaches_beyond_its_entry_is_as_hydra_has_it(unusual: Composer, line: list[str]) -> None:
    quick = agrees(unusual, line)
    assert not (quick and any("train=by_model" in text for text in line))
    try:
        config = unusual.config(line)
    except (HydraException, OmegaConfBaseException, RequestError):
        assert not quick  # Hydra's own word
    else:
        assert config.cluster.gpu_type == "a100"


def test_a_sites_misspelt_key_is_still_refused(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf, ignore=shutil.ignore_patterns("local"))
    composer = sweeper(conf).composer
    (conf / "local").mkdir()
    (conf / "local" / "default.yaml").write_text("modle: {gpus: 2}\n")
    assert composer.quick(["model=mini"]) is None
    with pytest.raises(HydraException):
        composer.config(["model=mini"])


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
    with pytest.raises((HydraException, OmegaConfBaseException)) as error:
        sweeper().composer.config(["study=quickstart", override])
    text = f"{error.value} {error.value.__cause__}"
    assert "would keep the value of A_SECRET with the sweep" in text
    assert "s3cret" not in text


def test_a_folder_of_the_environment_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    monkeypatch.delenv("NOT_SET", raising=False)
    where = "output_dir='${oc.env:SCRATCH}/${oc.env:NOT_SET,none}'"
    assert sweeper().composer.config(["study=quickstart", where]).output_dir == f"{tmp_path}/none"
