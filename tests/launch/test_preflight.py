"""What the disk shows to be wrong: each problem says the key, the value, what is valid and what to type."""

import errno
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from outcomes import finish
from values import benchmark, model, request, source

from sft_sweeps.execution import Executions
from sft_sweeps.files.content import content_pin
from sft_sweeps.jobs.job import missing
from sft_sweeps.launch import preflight
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.local import preflight as local
from sft_sweeps.models import train_tokenizer as bpe
from sft_sweeps.models.init import materialise
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.plan.request import AskedRepresentations
from sft_sweeps.spec.data import Component, Source
from sft_sweeps.spec.training import Shape
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey, survey

LLAMA33B = Shape(6656, 17920, 60, 52, 52, 32000, 2048)
Problems = Callable[[Plan], list[str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def problems(store: Store) -> Problems:
    """As a launch on this machine asks: the source math stands under `data.sources.numbers`."""

    def found(plan: Plan) -> list[str]:
        surveyed = survey(plan, Store(store.root))
        jobs = missing(surveyed, Executions())
        return [*preflight.problems(surveyed, jobs), *local.problems(jobs)]

    return found


def rows(path: Path, good: int, bad: int = 0) -> Path:
    """A file of so many rows that can be used, after so many that cannot."""
    lines = ["{broken"] * bad + [json.dumps({"question": f"{n}?", "answer": str(n)}) for n in range(good)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def of_file(path: Path, **changes: Any) -> Source:
    """The source math as `resolve` makes it of a file that is there."""
    content, count = content_pin(path)
    return replace(source("math", slot="numbers", rows=count, content=content, path=str(path)), **changes)


def trained_on(*sources: Source, **changes: Any) -> Plan:
    """One point for each source."""
    parts = [Component(each, Fraction(1), seed=0) for each in sources]
    return build([(part.source.content, request((part,), **changes)) for part in parts])


def generated(**changes: Any) -> Plan:
    """A plan that needs no file at all."""
    return trained_on(source("mini_math", rows=50, content="generated:x", rows_from="generated"), **changes)


def test_nothing_is_wrong_with_what_is_there(problems: Problems, store: Store, tmp_path: Path) -> None:
    assert problems(trained_on(of_file(rows(tmp_path / "a.jsonl", 20)))) == []
    assert problems(generated()) == []
    assert not store.root.exists()


def test_a_source_that_is_not_there(problems: Problems, tmp_path: Path) -> None:
    path = tmp_path / "absent.jsonl"
    assert problems(trained_on(source("math", slot="numbers", path=str(path)))) == [
        f"data.sources.numbers: source math is not at {path}. Place the file there, or set "
        "data.sources.numbers.path=FILE."
    ]


def test_a_file_that_is_not_the_pinned_one(problems: Problems, tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 20)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (text,) = problems(trained_on(of_file(path, content="sha256:0123")))
    assert text.startswith(
        f"data.sources.numbers: {path} is not the pinned math (sha256:{sha256}, expected sha256:0123)"
    )
    assert f"data.sources.numbers.path={path}" in text


@pytest.mark.parametrize("pin", ["git-blob", "sha256"])
def test_the_pinned_file_is_recognised(pin: str, problems: Problems, tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 20)
    data = path.read_bytes()
    digests = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "git-blob": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
    }
    assert problems(trained_on(of_file(path, content=f"{pin}:{digests[pin]}"))) == []


@pytest.mark.parametrize("data", [b"\x1f\x8b damaged", b"\x1f\x8b\x08\0\0\0\0\0\0\3cut"])
def test_a_damaged_file_where_the_pinned_one_should_be(data: bytes, problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(data)
    (text,) = problems(trained_on(source("math", slot="numbers", path=str(tmp_path / "a.gz"))))
    assert text.startswith(f"data.sources.numbers: {tmp_path / 'a.gz'} cannot be read (")
    assert "Fetch it again, or set data.sources.numbers.path=FILE" in text


@pytest.mark.parametrize(("bad", "wrong"), [(0, False), (1, False), (2, True), (100, True)])
def test_rows_that_cannot_be_used(bad: int, wrong: bool, problems: Problems, tmp_path: Path) -> None:
    """5 % may be bad: of 20 rows, one."""
    found = problems(trained_on(of_file(rows(tmp_path / "a.jsonl", 20 - min(bad, 19), bad))))
    assert len(found) == wrong
    for text in found:
        assert f"source math: {bad} of the {20 - min(bad, 19) + bad} rows of {tmp_path / 'a.jsonl'}" in text
        assert f"{bad} broken_json, e.g. line 1: {{broken" in text
        assert "Fix the file, or raise data.sources.numbers.max_bad_fraction (now 0.05)" in text
    raised = of_file(tmp_path / "a.jsonl", max_bad_fraction=0.99)
    assert len(problems(trained_on(raised))) == (bad == 100)


def test_two_files_for_one_name_are_both_looked_at(problems: Problems, tmp_path: Path) -> None:
    """`data.sources.numbers.path=a.jsonl,b.jsonl` is a sweep of two sources called math."""
    files = [rows(tmp_path / name, 10, bad) for name, bad in (("a", 9), ("b", 0), ("c", 8))]
    found = problems(trained_on(*map(of_file, files)))
    assert len(found) == 2
    assert [str(files[0]) in found[0], str(files[2]) in found[1]] == [True, True]


def test_a_source_that_only_a_loss_is_taken_on(problems: Problems, tmp_path: Path) -> None:
    of = benchmark("heldout_loss:math", source=source("math", slot="numbers", path=str(tmp_path / "absent")))
    (text,) = problems(generated(benchmarks=(of,)))
    assert text.startswith("data.sources.numbers: source math is not at")


def test_a_source_that_only_queries_are_of(problems: Problems, tmp_path: Path) -> None:
    """A base model is looked into: nothing is trained."""
    asked = AskedRepresentations(queries=10, layer=1, pooling="last")
    plan = trained_on(source("math", slot="numbers", path=str(tmp_path / "absent")), strategy="base")
    assert problems(plan) == []
    plan = trained_on(
        source("math", slot="numbers", path=str(tmp_path / "absent")), strategy="base", representations=asked
    )
    (text,) = problems(plan)
    assert text.startswith("data.sources.numbers: source math is not at")


def test_a_folder_of_ones_own_without_weights_is_not_looked_for_at_the_hub(problems: Problems, tmp_path: Path) -> None:
    plan = generated(base=model("seven", weights="sha256:0a", path=str(tmp_path)))
    weights, tokenizer = problems(plan)
    assert weights == f"model=seven: no config.json and *.safetensors in {tmp_path}. Set model.folder=FOLDER."
    assert tokenizer.startswith(f"model=seven: there is no tokenizer.json in {tmp_path}.")


def test_weights_that_are_not_there(problems: Problems, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    plan = generated(base=model("seven", weights="hub:org/seven@abc"))
    folder = tmp_path / "hub" / "models--org--seven" / "snapshots" / "abc"
    expected = (
        f"model=seven: no config.json and *.safetensors in {folder}. Fetch them where there is a network: "
        "hf download org/seven --revision abc; or set model.folder=FOLDER."
    )
    assert problems(plan) == [expected]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert problems(plan)[0] == expected
    (folder / "model.safetensors").write_text("w")
    text, _ = problems(plan)
    assert text.startswith(f"model=seven: {folder / 'config.json'} names no model_type")
    shutil.rmtree(folder)
    materialise(plan.models[0].shape, 0, [], folder)
    (text,) = problems(plan)
    assert text.startswith(f"model=seven: there is no tokenizer.json in {folder}")
    bpe.save(bpe.train(["USER: Tom has 3 apples. ASSISTANT: 3 and 4 is 7."] * 9, 290), folder)
    assert problems(plan) == []


def test_a_tokenizer_that_cannot_be_read(problems: Problems) -> None:
    (text,) = problems(generated(base=model(tokenizer="provisional:/t", tokenizer_path="/t")))
    assert text.startswith("model.tokenizer=/t: no readable tokenizer.json there")
    assert "sft-sweeps tokenizer FILE ... --out FOLDER" in text


def test_more_items_than_there_are(problems: Problems) -> None:
    (text,) = problems(generated(benchmarks=(benchmark("mini_code", examples=5000),)))
    assert text.startswith("evaluate.examples=5000 is too many: mini_code has only about ")
    assert text.endswith("set evaluate.examples to fewer")


def test_an_output_folder_under_a_file(problems: Problems, store: Store) -> None:
    store.root.write_text("a file")
    (text,) = problems(generated())
    assert text == f"output_dir={store.root} cannot be written (Not a directory); make room or choose output_dir=FOLDER"
    below = Store(store.root / "deep")
    found = preflight.problems(Survey(build([]), below, {}), [])
    assert found == [
        f"output_dir={below.root} cannot be written (Not a directory); make room or choose output_dir=FOLDER"
    ]


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size`: what a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_output_folder_that_takes_no_bytes(problems: Problems, store: Store) -> None:
    plan = generated()
    with small_files(1024):
        found = problems(plan)
    assert found == [
        f"output_dir={store.root} cannot be written (File too large); make room or choose output_dir=FOLDER"
    ]
    assert problems(plan) == []


def test_too_little_room(problems: Problems, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finished models, and of one stage the two resume states that are kept and one that is being written."""
    plan = trained_on(*generated_twice())
    weights = cost.parameters(plan.models[0].shape)
    need = (2 * 4 * weights + 3 * 12 * weights) / 1e9
    usage = shutil.disk_usage(store.root.parent)
    for free, wrong in ((need * 1.01, False), (need * 0.99, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=int(free * 1e9)))
        found = problems(plan)
        assert len(found) == wrong
    assert found[0].startswith(f"output_dir={store.root} has {need * 990:,.1f} MB left (its file system); ")
    assert found[0].endswith("Make room or choose output_dir=FOLDER.")


def test_what_takes_the_room_and_what_would_help(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four 33B stages in two chains of two: two of them at once."""
    base = model("33b", weights="hub:org/name@1", shape=LLAMA33B)
    parts = [replace(each, content=f"generated:{n}") for n, each in enumerate(generated_twice() * 2)]
    code, math = (Component(part, Fraction(1), seed=0) for part in parts[:2])
    code = replace(code, source=replace(code.source, name="mini_code", ability="code"))
    recipes = [replace(request().recipe, model_dtype="bf16", seed=seed) for seed in (0, 1)]
    points = [request((code, math), "sequential", base=base, recipe=recipe) for recipe in recipes]
    plan = build([(str(n), point) for n, point in enumerate(points)])
    jobs = missing(survey(plan, store), Executions())
    usage = shutil.disk_usage(store.root.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**11))

    def asked(policy: DiskPolicy) -> list[str]:
        texts = preflight.problems(survey(plan, Store(store.root)), jobs, policy)
        return [text for text in texts if text.startswith("output_dir=")]

    start = f"output_dir={store.root} has 100.0 GB left (its file system); this sweep needs about "
    assert asked(DiskPolicy(256, "cluster.max_running")) == [
        f"{start}2,602.3 GB: 260.2 GB of finished models (4) and 2,342.1 GB of resume states (3 for each of 2 trained "
        "at once). Make room, choose output_dir=FOLDER, keep 2 models with store.retention=final or train fewer at "
        "once with cluster.max_running=1."
    ]
    assert asked(DiskPolicy(1, "cluster.max_running", "final")) == [
        f"{start}1,301.2 GB: 130.1 GB of finished models (2) and 1,171.0 GB of resume states (3 for each of 1 trained "
        "at once). Make room or choose output_dir=FOLDER."
    ]
    for step in (2, 4):
        (store.folder(plan.stages[0]) / "resume" / f"step-{step}").mkdir(parents=True)
    (text,) = asked(DiskPolicy(1, retention="final"))
    assert f"{start}520.5 GB: " in text
    assert "at once), 780.7 GB of which are there." in text
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=521 * 10**9))
    assert asked(DiskPolicy(1, retention="final")) == []


def test_other_stores(store: Store, tmp_path: Path) -> None:
    """What is read must be there, and be a store."""
    roots = {name: tmp_path / name for name in ("absent", "file", "empty", "closed", "stage", "good")}
    roots["file"].write_text("")
    for name in ("empty", "closed/models", "stage/model", "good/stages"):
        (tmp_path / name).mkdir(parents=True)
    plan, reading = generated(), Store(store.root, list(roots.values()))
    found = preflight.problems(survey(plan, reading), [])
    ending = "name another's output_dir, or leave it out"
    assert [text for text in found if "closed" not in text] == [
        f"store.read_from: {roots['absent']} is not there; {ending}",
        f"store.read_from: {roots['file']} is not there; {ending}",
        f"store.read_from: {roots['empty']} holds neither stages/ nor models/; {ending}",
        f"store.read_from: {roots['stage']} holds neither stages/ nor models/; {ending}",
    ]
    assert len(found) == 4


def test_another_store_that_may_not_be_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed" / "stages").mkdir(parents=True)
    reading, listed = Store(store.root, [tmp_path / "closed"]), os.listdir

    def refused(path: Path) -> list[str]:
        if "closed" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", refused)
    assert preflight.problems(Survey(build([]), reading, {}), []) == [
        f"store.read_from: {tmp_path / 'closed'} cannot be read (Permission denied); ask its owner to let you read "
        "it, or leave it out"
    ]


def generated_twice() -> list[Source]:
    of = source("mini_math", rows=50, content="generated:50", rows_from="generated")
    return [of, replace(of, rows=60, content="generated:60")]


@pytest.mark.parametrize("part", ["model", "stage", "generation", "score", "analysis"])
def test_a_record_that_cannot_be_trusted(part: str, problems: Problems, store: Store) -> None:
    plan = generated(representations=AskedRepresentations(queries=10, layer=1, pooling="last"))
    items = {"model": plan.models, "stage": plan.stages, "generation": plan.generations, "score": plan.scores}
    items["analysis"] = plan.analyses
    path = finish(store, items[part][0]) / "record.json"
    assert problems(plan) == []
    path.write_text("{")  # broken off: made again
    assert problems(plan) == []
    path.write_text("{}")
    (text,) = problems(plan)
    assert text.startswith(f"{path} is not a record")
    assert text.endswith("if it cannot be repaired, delete that file to have the work done again, then launch")


def test_problems_come_together(problems: Problems, tmp_path: Path, store: Store) -> None:
    base = model("big", weights="safetensors:0", path=str(tmp_path / "w"), gpus=999, tokenizer="provisional:t")
    of = benchmark("mini_code", examples=5000)
    plan = trained_on(
        source("math", slot="numbers", path="absent"), of_file(rows(tmp_path / "a", 1, 9)), base=base, benchmarks=(of,)
    )
    store.root.write_text("a file")
    found = problems(plan)
    starts = (
        "model.tokenizer=",
        "model=big: no",
        "data.s",
        "source math",
        "evaluate.examples=",
        "output_dir=",
        "model=big needs",
    )
    assert len(found) == len(starts)
    assert all(text.startswith(start) for text, start in zip(found, starts, strict=True)), found


def test_a_finished_sweep_has_no_problems(problems: Problems, store: Store, tmp_path: Path) -> None:
    """Neither data nor weights nor GPUs are needed to see its table again."""
    base = model("big", weights="safetensors:0", path=str(tmp_path / "w"), gpus=999)
    plan = trained_on(of_file(rows(tmp_path / "a", 20)), base=base)
    assert len(problems(plan)) == 2
    for item in (*plan.stages, *plan.generations, *plan.scores):
        finish(store, item)
    (tmp_path / "a").unlink()
    assert problems(plan) == []
