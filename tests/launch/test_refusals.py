"""Why a launch is refused: in the order in which it is to be solved, with where things are had. Plans say it too."""

import json
from pathlib import Path

import pytest
from common import Points

from sft_sweeps.errors import RequestError
from sft_sweeps.launch import launch, output
from sft_sweeps.launch.disk import DiskRoom
from sft_sweeps.launch.points import planned
from sft_sweeps.launch.show import show
from sft_sweeps.terminal import console


def refusal(points: Points, *line: str) -> str:
    asked = points(*line)
    with pytest.raises(RequestError) as caught:
        launch._checked_work(planned(asked), asked, console())
    return str(caught.value)


def test_the_machine_comes_before_models_data_and_disk(
    points: Points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has no GPU need not look for a terabyte first."""
    monkeypatch.setattr(output, "room", lambda _: DiskRoom(0.5, "its file system"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    text = refusal(points, "model=llama7b", "data=general", "evaluate=none", "cluster=local", f"output_dir={tmp_path}")
    needs = ["needs 8 GPUs", "model=llama7b: no config.json", "source sharegpt is not at", "MB left"]
    places = [text.find(need) for need in needs]
    assert -1 not in places, text
    assert places == sorted(places), text
    assert "ShareGPT_V3_unfiltered_cleaned_split.json" in text


def test_a_path_that_was_typed_is_said_to_be_absent(points: Points, tmp_path: Path) -> None:
    line = ("model=mini", "data=general", "train=mini", "evaluate=none", "cluster=local", f"output_dir={tmp_path}")
    text = refusal(points, *line, f"data.sources.general.path={tmp_path}/no.jsonl")
    assert f"data.sources.general.path={tmp_path}/no.jsonl is not there; correct it" in text
    assert "Place the file there" not in text


def test_a_plan_with_unscored_runs_says_so_first_and_in_red(
    points: Points, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    line = ("model=mini", "data=mini", "train=mini", "cluster=local", "plan.measure=false", f"output_dir={tmp_path}")
    output = tmp_path / "plan.json"
    half = ("evaluate=heldout_loss", "data.fraction=1,1/2", f"plan.output={output}")
    for more, unscored in ((half, True), (("evaluate=none",), False), ((), False)):
        asked = points(*line, *more)
        assert show(planned(asked), [point.config for point in asked]).status == 0
        first = capsys.readouterr().out.splitlines()[0]
        assert ("\x1b[31m1 of 2 runs get no score at all, e.g. mini multi_task" in first) == unscored, first
    assert len(json.loads(output.read_text())["unscored"]) == 1


def test_the_plan_tells_what_a_launch_would_be_refused_for(
    points: Points, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An architecture that cannot be trained, a typed path that is absent; and the plan is still shown."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mamba", "architectures": ["MambaForCausalLM"]}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    line = ("model=mini", "data=mini", "train=mini", "evaluate=none", "cluster=local", f"output_dir={tmp_path}/out")
    missing = (f"data.sources.math.path={tmp_path}/no.jsonl", "data.sources.math.generated=false")
    for more, said in (((f"model.folder={folder}",), "model=mini: "), (missing, "data.sources.math.path=")):
        asked = points(*line, *more)
        assert show(planned(asked), [point.config for point in asked]).status == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "1 row, 1 distinct run" in told
        assert f"a launch would be refused {said}" in told, told
