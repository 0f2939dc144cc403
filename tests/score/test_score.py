"""From answers to scores, with real items and judges: only the model is made up."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import FakeEngine
from values import ENGINE, generation, model, source, stage

from sft_sweeps.benchmarks import mini as benchmark
from sft_sweeps.benchmarks.registry import definition_of
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.data import mini
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.select import heldout
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.execution import AnswerExecution
from sft_sweeps.generate import answers, hf, replicas
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.models import train_tokenizer
from sft_sweeps.plan.build import score_of, seen
from sft_sweeps.score import score
from sft_sweeps.spec.data import Component, Source
from sft_sweeps.spec.evaluation import Benchmark, Generation
from sft_sweeps.spec.training import Model
from sft_sweeps.stats import proportion
from sft_sweeps.store.answers import ITEMS, JOURNAL, VERDICTS, read_rows, write_rows
from sft_sweeps.store.store import Store, write_record
from sft_sweeps.worker import dispatch

Say = Callable[[benchmark.Item, int], str]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[FakeEngine]:
    FakeEngine.loads, FakeEngine.answered, FakeEngine.differing, FakeEngine.script = 0, 0, 0, {}
    monkeypatch.setattr(hf, "HFEngine", FakeEngine)
    monkeypatch.setattr(replicas.checkpoint, "loadable", lambda _folder: None)  # it has no weights to look at
    return FakeEngine


@pytest.fixture
def base(tmp_path: Path) -> Model:
    """A pretrained model of which only the tokenizer is there."""
    train_tokenizer.copy(mini.TOKENIZER, tmp_path / "base")
    folder = str(tmp_path / "base")
    return model(weights="safetensors:0", path=folder, tokenizer_path=folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def asked(base: Model, name: str, examples: int = 6) -> Generation:
    version = definition_of(name).version
    return generation(base, name=name, examples=examples, max_new_tokens=64, scorer_version=version)


def rehearse(wanted: Generation, say: Say) -> list[benchmark.Item]:
    """Give the engine its lines: every prompt of every item, where earlier turns hold what it said itself."""
    of = wanted.benchmark
    encoder = Encoder(Path(wanted.subject.path), of.template, 1 << 30)  # type: ignore[union-attr]
    items = benchmark.items(of.name, of.examples, of.seed)
    for item in items:
        rounds: list[tuple[str, str]] = []
        for turn, text in enumerate(item.turns):
            FakeEngine.script[tuple(encoder.prompt_ids(rounds, text))] = say(item, turn)
            rounds.append((text, say(item, turn)))
    return items


def perfect(item: benchmark.Item, turn: int) -> str:
    if "answers" in item.gold:
        return str(item.gold["answers"][turn])
    return str(item.gold.get("reference", f"#### {item.gold.get('answer')}"))


def garbage(_: benchmark.Item, turn: int) -> str:
    return f"no idea about turn {turn}"


def evaluate(wanted: Sequence[Generation], store: Store, batch_size: int = 4, stop: Any = lambda: False) -> None:
    answers.generate(wanted[0].subject, wanted, store, AnswerExecution(generation_batch=batch_size), stop)
    score.score_all(wanted, store, stop)


def result(store: Store, wanted: Generation) -> dict[str, Any]:
    record = store.record(score_of(wanted))
    assert record is not None
    return record


@pytest.mark.parametrize("name", mini.SOURCES)
@pytest.mark.parametrize(("say", "share"), [(perfect, 1), (garbage, 0)])
def test_answers_are_judged(name: str, say: Say, share: int, base: Model, store: Store) -> None:
    wanted = asked(base, name)
    items = rehearse(wanted, say)
    evaluate([wanted], store)
    record = result(store, wanted)
    interval = proportion(6 * share, 6)
    expected = {"metric": "accuracy", "value": float(share), "low": interval.low, "high": interval.high}
    counts = ("answers", "formatted", "unreadable")
    assert {key: value for key, value in record["score"].items() if key not in counts} == expected | {
        "n": 6,
        "k": 6 * share,
    }
    readable = 6 if share or name == "mini_general" else 0  # any text answers a general question
    assert Scored.from_record(record).read_as(6, readable, 6 - readable) == Scored.from_record(record)
    assert sum(record["reasons"].values()) == 6
    rows = read_rows(store.generation(wanted) / ITEMS)
    verdicts = read_rows(store.score(score_of(wanted)) / VERDICTS)
    assert [row["id"] for row in rows] == [verdict["item"] for verdict in verdicts] == [item.id for item in items]
    assert [row["answers"] for row in rows] == [[say(i, turn) for turn in range(len(i.turns))] for i in items]
    assert all(len(row["tokens"]) == len(row["finished"]) == len(row["answers"]) for row in rows)


def test_later_turns_see_the_models_own_answers(base: Model, store: Store) -> None:
    """A prompt that held the gold answers instead would not be in the script."""
    wanted = asked(base, "mini_general", 12)
    items = rehearse(wanted, lambda item, turn: perfect(item, turn) if turn else "wrong")
    turns = [len(item.turns) for item in items]
    assert {1, 2, 3} == set(turns)
    evaluate([wanted], store)
    assert result(store, wanted)["score"]["k"] == 0
    verdicts = read_rows(store.score(score_of(wanted)) / VERDICTS)
    assert [verdict["detail"]["turns"] for verdict in verdicts] == [[False] + [True] * (n - 1) for n in turns]


def test_answers_that_were_cut_off_are_counted(base: Model, store: Store) -> None:
    wanted = generation(base, name="mini_math", examples=5, max_new_tokens=3)
    rehearse(wanted, lambda item, _: "a" if item.id.endswith("/0") else "one two three four five")
    evaluate([wanted], store)
    record = store.record(wanted)
    assert record is not None
    assert (record["n"], record["truncated"]) == (5, 4)


def test_one_load_serves_all_benchmarks(base: Model, store: Store, engine: type[FakeEngine]) -> None:
    wanted = [asked(base, name, 3) for name in mini.SOURCES]
    for each in wanted:
        rehearse(each, perfect)
    evaluate(wanted, store)
    assert engine.loads == 1
    assert [result(store, each)["score"]["k"] for each in wanted] == [3, 3, 3]


@pytest.fixture
def answered(base: Model, store: Store) -> Generation:
    """Six kept answers and their score, from a model that cannot be loaded again."""
    wanted = asked(base, "mini_math")
    rehearse(wanted, perfect)
    evaluate([wanted], store)
    return wanted


def explode(*_: Any) -> None:
    raise AssertionError("the model was loaded")


def remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_a_score_needs_no_model(answered: Generation, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted scores come back from the kept answers, which stay as they were."""
    before = result(store, answered)
    kept = (store.generation(answered) / ITEMS).stat()
    remove(store.score(score_of(answered)))
    assert store.record(score_of(answered)) is None
    monkeypatch.setattr(hf, "HFEngine", explode)
    evaluate([answered], store)
    after = result(store, answered)
    assert {**after, "finished": ""} == {**before, "finished": ""}
    assert (store.generation(answered) / ITEMS).stat().st_mtime_ns == kept.st_mtime_ns
    remove(store.generation(answered))
    with pytest.raises(AssertionError, match="the model was loaded"):
        evaluate([answered], store)


def test_a_job_that_only_scores_needs_no_weights(answered: Generation, store: Store) -> None:
    """The model's folder holds a tokenizer and no config.json: what would generate is stopped at the gate."""
    remove(store.score(score_of(answered)))
    for kind in ("generate", "score"):
        dispatch.do(Job(kind, str(store.root), answered.subject, KINDS[kind].execution(), (answered,)), lambda: False)
    assert result(store, answered)["score"]["k"] == 6
    remove(store.generation(answered))
    remove(store.score(score_of(answered)))
    for kind, said in (
        ("generate", "is not finished; launch the sweep again"),
        ("score", "has not answered mini_math"),
    ):
        with pytest.raises(RunError, match=said):
            dispatch.do(
                Job(kind, str(store.root), answered.subject, KINDS[kind].execution(), (answered,)), lambda: False
            )


def fewer(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[:-1]


def repeated(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows[:-1], rows[0]]


def more(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, rows[0]]


def test_another_scorer_than_the_planned_one_scores_nothing(answered: Generation, store: Store) -> None:
    later = replace(answered, benchmark=replace(answered.benchmark, scorer_version=2))
    with pytest.raises(RunError, match="version 2 of the scorer of mini_math was planned, 1 is installed"):
        score.score(later, store)
    assert store.record(score_of(later)) is None


@pytest.mark.parametrize("change", [fewer, repeated, more])
def test_answers_to_other_than_all_items_are_not_scored(change: Any, answered: Generation, store: Store) -> None:
    remove(store.score(score_of(answered)))
    path = store.generation(answered) / ITEMS
    write_rows(path, change(read_rows(path)))
    write_record(path.parent, answered.payload, [ITEMS], {})
    with pytest.raises(RunError, match=r"mini_math has 6 items, .* nothing is scored"):
        score.score(answered, store)
    assert store.record(score_of(answered)) is None


def test_a_signal_between_batches_loses_no_answer(base: Model, store: Store, engine: type[FakeEngine]) -> None:
    """What was answered is kept; the next job answers the rest, each turn once."""
    wanted = asked(base, "mini_general")
    turns = sum(len(item.turns) for item in rehearse(wanted, perfect))
    asked_so_far: list[int] = []

    def stop() -> bool:
        asked_so_far.append(1)
        return len(asked_so_far) > 3

    with pytest.raises(Interrupted, match=r"answering of mini stopped after 4 prompts; launch again"):
        evaluate([wanted], store, 2, stop)
    assert store.record(wanted) is None
    assert store.record(score_of(wanted)) is None
    journal = store.generation(wanted) / JOURNAL
    assert len(read_rows(journal)) == engine.answered == 4
    evaluate([wanted], store, 2)
    assert result(store, wanted)["score"]["k"] == 6
    assert engine.answered == turns
    assert not journal.exists()


@pytest.mark.parametrize("garbage", [b'{"id": "mini_gen', b"\xff\xfe\n", b"[1]\n", b"{}", b'{"id": "x"}\n'])
def test_a_torn_line_of_the_journal_is_answered_again(
    garbage: bytes, base: Model, store: Store, engine: type[FakeEngine]
) -> None:
    wanted = asked(base, "mini_math")
    rehearse(wanted, perfect)
    stops = iter([False, False, False, True])
    with pytest.raises(Interrupted):
        evaluate([wanted], store, 2, lambda: next(stops))
    path = store.generation(wanted) / JOURNAL
    path.write_bytes(path.read_bytes() + garbage)
    evaluate([wanted], store, 2)
    assert result(store, wanted)["score"]["k"] == 6
    assert engine.answered == 6


def test_answers_that_depend_on_their_batch_are_not_kept(base: Model, store: Store, engine: type[FakeEngine]) -> None:
    """A lost mask makes nearly all of them do."""
    engine.differing = 3
    wanted = asked(base, "mini_math")
    rehearse(wanted, perfect)
    with pytest.raises(RunError, match="3 of 4 answers of mini depend on the batch"):
        evaluate([wanted], store)
    assert store.record(wanted) is None


def test_a_signal_before_the_first_batch_loads_nothing(base: Model, store: Store, engine: type[FakeEngine]) -> None:
    with pytest.raises(Interrupted):
        evaluate([asked(base, "mini_math")], store, 2, lambda: True)
    assert engine.loads == 0


def generated(rows: int = 50) -> Source:
    return source("mini_math", rows=rows, content=f"generated:mini_math:{rows}", rows_from="generated")


def losses_of(taken: Source, subject: Any, examples: int = 10) -> Generation:
    of = Benchmark(f"heldout_loss:{taken.name}", taken.content, examples, "vicuna_bare", source=taken, max_length=96)
    return Generation(subject, of, ENGINE)


def test_held_out_losses(base: Model, store: Store) -> None:
    """Every supervised token costs 2 nats here; the examples are the last ones of the source's order."""
    taken = generated()
    wanted = losses_of(taken, base)
    evaluate([wanted], store)
    found = result(store, wanted)["score"]
    half = 2.0 * (1 - proportion(10, 10).low)  # ten equal losses leave as much open as ten of ten
    ends = {"low": pytest.approx(2.0 - half), "high": pytest.approx(2.0 + half)}
    assert found == {"metric": "loss", "value": 2.0, **ends, "n": 10, "k": None}
    rows = read_rows(store.generation(wanted) / ITEMS)
    assert [row["id"] for row in rows] == [
        e.id for e in heldout(mini.generate("mini_math", taken.rows, taken.seed), 0, "mini_math", 10)
    ]
    assert len({row["id"] for row in rows}) == 10


@pytest.mark.parametrize(
    ("fraction", "reserved", "refused"),
    [
        (Fraction(1), 0, True),
        (Fraction(1), 9, True),
        (Fraction(1), 10, False),
        (Fraction(4, 5), 0, False),
        (Fraction(41, 50), 0, True),
        (Fraction(41, 50), 1, False),
    ],
)
def test_a_loss_is_never_taken_on_training_data(
    fraction: Fraction, reserved: int, refused: bool, base: Model, store: Store
) -> None:
    """Neither the stage's own nor an ancestor's; refused before the model is loaded."""
    taken = generated()
    first = stage(base, [Component(taken, fraction, 0, reserved)])
    last = stage(first, [Component(source("other"), Fraction(1), 0)])
    assert [c.fraction for c in seen(last, taken)] == [fraction]
    train_tokenizer.copy(mini.TOKENIZER, store.weights(first))
    train_tokenizer.copy(mini.TOKENIZER, store.weights(last))
    for subject in (first, last):
        if refused:
            with pytest.raises(RunError, match="was trained on examples of mini_math that its loss is taken on"):
                evaluate([losses_of(taken, subject)], store)
        else:
            evaluate([losses_of(taken, subject)], store)
    assert FakeEngine.loads == (0 if refused else 2)


def test_a_real_model_from_answers_to_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing made up: a random model is wrong everywhere, and says the same in batches of any size."""
    monkeypatch.undo()
    folder = str(tiny.write(tmp_path / "tiny"))
    base = model(weights="safetensors:1", path=folder, tokenizer_path=folder)
    wanted = [
        replace(one, benchmark=replace(one.benchmark, max_new_tokens=6))
        for one in (asked(base, name) for name in mini.SOURCES)
    ]
    kept = []
    for batch_size in (1, 4):
        at = Store(tmp_path / str(batch_size))
        evaluate(wanted, at, batch_size)
        assert [result(at, each)["score"]["k"] for each in wanted] == [0, 0, 0]
        kept.append([(at.generation(each) / ITEMS).read_text() for each in wanted])
    assert kept[0] == kept[1]
    assert len({json.dumps(json.loads(line)["tokens"]) for text in kept[0] for line in text.splitlines()}) == 18
