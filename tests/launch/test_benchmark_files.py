"""The files of published benchmarks: a plan needs none of them, a launch fetches them or says where they belong."""

import hashlib
import json
from pathlib import Path

import pytest
from common import Points
from file_server import Server

from sft_sweeps.benchmarks.registry import definitions
from sft_sweeps.config.grid import Point
from sft_sweeps.errors import RequestError
from sft_sweeps.launch import benchmark_files, launch, prepare
from sft_sweeps.launch.points import planned
from sft_sweeps.launch.show import show
from sft_sweeps.terminal import console

ROWS = "".join(json.dumps({"question": f"{n} + 1?", "answer": f"#### {n + 1}"}) + "\n" for n in range(3))
PIN = f"sha256:{hashlib.sha256(ROWS.encode()).hexdigest()}"


@pytest.fixture
def asked(points: Points, server: Server, tmp_path: Path) -> list[Point]:
    server.content = ROWS.encode()
    return points(
        *("model=mini", "data=mini", "train=mini", "evaluate=paper", "evaluate.benchmarks=[gsm8k]", "cluster=local"),
        *(f"evaluate.gsm8k.url={server.url}", f"evaluate.gsm8k.content={PIN}", "evaluate.gsm8k.rows=3"),
        *(f"output_dir={tmp_path}", "plan.measure=false", "evaluate.batch_size=3"),
    )


def test_a_plan_needs_none_and_says_what_a_launch_fetches(
    asked: list[Point], server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(planned(asked), [point.config for point in asked]).status == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "fetched by a launch, or beforehand by action=prepare: gsm8k_test.jsonl" in told
    assert "a launch would be refused" not in told
    assert (server.asked, list(tmp_path.iterdir())) == ([], [])


def test_a_launch_fetches_them_once(asked: list[Point], server: Server, tmp_path: Path) -> None:
    work = launch._checked_work(planned(asked), asked, console())
    assert work.jobs
    assert (tmp_path / "data" / "gsm8k_test.jsonl").read_text() == ROWS
    launch._checked_work(planned(asked), asked, console())
    assert len(server.asked) == 1


def test_preparing_fetches_them(asked: list[Point], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare.run([point.config for point in asked], list, console()) == 0
    assert "fetched the items of gsm8k" in capsys.readouterr().out
    assert (tmp_path / "data" / "gsm8k_test.jsonl").read_text() == ROWS


def test_without_a_network_a_launch_says_what_to_place_where(asked: list[Point], server: Server) -> None:
    server.status = 404
    with pytest.raises(RequestError, match=r"items of gsm8k cannot be fetched \(404 .*place it at .*gsm8k_test\.jsonl"):
        launch._checked_work(planned(asked), asked, console())


def test_every_published_file_has_an_address_and_a_pin(tmp_path: Path) -> None:
    found = [
        file
        for name, one in definitions().items()
        if one.settings
        for file in one.files(name, one.settings(), tmp_path)
        if file.path.parent == tmp_path
    ]
    assert {file.path.name for file in found} == {
        "gsm8k_test.jsonl",
        *("mt_bench_questions.jsonl", "mt_bench_judge_prompts.jsonl", "mt_bench_reference_answers_gpt4.jsonl"),
    }
    assert all(file.url.startswith("https://") and file.content.startswith("sha256:") for file in found)
    assert all(benchmark_files.entry(file).ability == "" for file in found)
