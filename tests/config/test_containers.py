"""A list or a mapping where a single value is meant is refused with its key, wherever it stands."""

from pathlib import Path

import pytest
from fuzzing import answer

from sft_sweeps.config import containers
from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.config.schema import StudyConfig
from sft_sweeps.config.source_schema import CleanConfig, DataConfig, SourceConfig

FILES = {
    "study: {grid: [[train.seed=1]]}": "grid[0]=['train.seed=1']: a list where a single value is meant",
    "evaluate: {benchmarks: [[mini_math]]}": "evaluate.benchmarks[0]=['mini_math']: a list where a single value",
}


@pytest.mark.parametrize("text", FILES)
def test_it_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "conf" / "study" / "own.yaml"
    path.parent.mkdir(parents=True)
    head = "# @package _global_\ndefaults: [override /model: mini, override /data: mini, override /train: mini]\n"
    path.write_text(f"{head}{text}\n")
    given = answer(["--config-dir", str(tmp_path / "conf"), "study=own", "evaluate=mini"], tmp_path / "store")
    assert given.status == 2
    assert "Traceback" not in given.error
    assert FILES[text] in " ".join(given.error.split())


def test_the_key_is_named_in_mappings_and_below_them() -> None:
    sources = {"math": SourceConfig(clean=CleanConfig(drop_words=["a", {"b": 1}]), roles={"user": ["a"]})}  # type: ignore[list-item]
    data = DataConfig(repeat={"math": [1], "code": 1, "general": None}, sources=sources)  # type: ignore[dict-item]
    single = "where a single value is meant; write that alone"
    assert sorted(containers.problems(data, "data.")) == [
        f"data.repeat.math=[1]: a list {single}",
        f"data.sources.math.clean.drop_words[1]={{'b': 1}}: a mapping {single}",
    ]
    assert list(containers.problems(ClusterConfig(setup=["module load cuda"]))) == []
    assert list(containers.problems(StudyConfig(hypotheses=[[]]))) == [f"hypotheses[0]=[]: a list {single}"]  # type: ignore[list-item]
