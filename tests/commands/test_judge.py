"""`sft-sweeps judge`: what a launch without a key left open is graded afterwards, once, for no more than was said."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fast_chat import fast_chat
from judge_server import Server, said
from outcomes import finish
from values import benchmark, model, request

from sft_sweeps.benchmarks.judging import cannot_ask
from sft_sweeps.commands import main
from sft_sweeps.commands.status import rows as status
from sft_sweeps.files.content import content_pin
from sft_sweeps.plan.build import Plan, build, score_of
from sft_sweeps.report.collect import collect
from sft_sweeps.score import judge_cost
from sft_sweeps.spec.evaluation import Generation, Judge
from sft_sweeps.store import claims
from sft_sweeps.store.answers import ITEMS, write_rows
from sft_sweeps.store.store import Store, write_record
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import freeze

KEY = "sk-not-to-be-seen-anywhere"
PRICED = ("--prices", "30,60")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    made = Server(lambda _body, _number: said("[[4]]"))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Three base models, asked three of MT-Bench's questions; its judge is far away."""
    paths = fast_chat(tmp_path)
    files = {key: (str(paths[key]), content_pin(paths[key])[0]) for key in ("questions", "prompts", "references")}
    judge = Judge(
        "judge-1", "", files["prompts"][1], files["references"][1], 0.0, 64, 1,
        prompts_path=files["prompts"][0], references_path=files["references"][0],
        base_url="https://judge.invalid/v1", key_variable="NO_SUCH_KEY",
    )  # fmt: skip
    asked = benchmark("mt_bench", content=files["questions"][1], path=files["questions"][0], examples=3, total=80)
    asked = replace(asked, judge=judge, scorer_version=2, ability="general")
    return build([(name, request(strategy="base", base=model(name), benchmarks=(asked,))) for name in "abc"])


@pytest.fixture
def store(plan: Plan, tmp_path: Path) -> Store:
    """Models a and b have answered, c has not."""
    made = Store(tmp_path / "store")
    for generation in plan.generations:
        finish(made, generation.subject)
    for generation in plan.generations[:2]:
        folder = made.read_folder(generation)
        folder.mkdir(parents=True, exist_ok=True)
        name = generation.subject.label
        rows = [{"id": str(81 + n), "answers": [f"{name}{n}", f"{name}{n}"], "sample": 0} for n in range(3)]
        write_rows(folder / ITEMS, rows)
        write_record(folder, generation.payload, [ITEMS], {})
    freeze(plan, made, "judged", "", ["x"])
    return made


def judged(store: Store, *more: str) -> int:
    return main.main(["judge", "judged", "--output-dir", str(store.root), *more])


def here(server: Server) -> tuple[str, ...]:
    return ("--base-url", server.url, "--key-variable", "JUDGE_KEY")


def asked_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_answers_are_judged_once_and_what_is_not_answered_waits(
    server: Server, store: Store, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(store, *here(server), "--yes", "--json") == 0
    first = asked_json(capsys)
    assert [(name, one["value"], one["n"]) for name, one in first["scores"].items()] == [
        ("mt_bench of a base", 4.0, 3),
        ("mt_bench of b base", 4.0, 3),
    ]
    assert (len(server.bodies), first["spent"]["calls"], first["unanswered"]) == (12, 12, 1)
    assert store.record(plan.scores[0]) is not None
    assert store.record(plan.scores[2]) is None
    assert judged(store, *here(server), "--json") == 0
    again = asked_json(capsys)
    assert (again["asked"], again["to_judge"], again["scores"].keys()) == (False, [], first["scores"].keys())
    assert len(server.bodies) == 12
    assert not [path for path in store.root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_the_price_is_said_first_and_a_ceiling_below_it_refuses(
    server: Server, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(store, *here(server), *PRICED, "--dry-run") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "judging by judge-1: 12 calls for 2 models, about" in told
    assert "$0.15" in told  # 12 replies of 200 tokens are 0.144; the rest are the prompts
    for more, says in (
        ((), "nothing was asked; type --yes"),
        (("--yes", *PRICED, "--max-usd", "0.01"), "expected to cost $0.15"),
        (("--yes", "--max-usd", "1"), "--max-usd needs --prices IN,OUT"),
        (("--yes", "--prices", "cheap"), "--prices cheap is not IN,OUT"),
        (("--yes", "--max-usd", "nan", *PRICED), "--max-usd nan is no amount"),
        (("--yes", "--base-url", "judge"), "--base-url judge is no address"),
    ):
        assert judged(store, *here(server), *more) == 2
        assert says in capsys.readouterr().err
    assert server.bodies == []


def test_equal_answers_are_priced_and_asked_once(
    server: Server, store: Store, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store.read_folder(plan.generations[1])
    write_rows(folder / ITEMS, [{"id": str(81 + n), "answers": ["same", "same"], "sample": 0} for n in range(3)])
    write_record(folder, plan.generations[1].payload, [ITEMS], {})
    assert judged(store, *here(server), "--yes", "--json") == 0
    found = asked_json(capsys)
    assert (found["estimate"]["calls"], found["spent"]["calls"], len(server.bodies)) == (8, 8, 8)


def test_without_a_key_nobody_is_asked(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert judged(store, "--yes") == 2
    assert "no key in the environment variable NO_SUCH_KEY" in capsys.readouterr().err


def test_another_judge_has_scores_of_its_own(
    server: Server, store: Store, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(store, *here(server), "--yes", "--judge", "judge-2", "--json") == 0
    assert len(asked_json(capsys)["scores"]) == 2
    assert {body["model"] for body in server.bodies} == {"judge-2"}
    assert store.record(plan.scores[0]) is None


def test_a_failure_keeps_what_is_paid_and_goes_on(
    server: Server, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """The judge refuses model b's answers; a is judged, and later only b is asked about."""
    plan_before, server.plan = server.plan, lambda body, _: (400, {}) if _of_b(body) else said("[[4]]")
    assert judged(store, *here(server), "--yes", "--json") == 1
    first = asked_json(capsys)
    assert (list(first["scores"]), list(first["failed"])) == (["mt_bench of a base"], ["mt_bench of b base"])
    paid, server.plan = len(server.bodies), plan_before
    assert judged(store, *here(server), "--yes", "--json") == 0
    assert list(asked_json(capsys)["scores"]) == ["mt_bench of a base", "mt_bench of b base"]
    assert all(map(_of_b, server.bodies[paid:]))


def _of_b(body: dict[str, Any]) -> bool:
    return str(body["messages"][-1]["content"]).rpartition(" ")[2].startswith("b")


def test_what_another_process_judges_is_left_to_it(
    server: Server, store: Store, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store.folder(plan.generations[0].subject) / "judge"
    folder.mkdir(parents=True)
    assert claims.take(folder, "other") is not None
    assert judged(store, *here(server), "--yes", "--json") == 1
    found = asked_json(capsys)
    assert (list(found["failed"]), list(found["scores"])) == (["mt_bench of a base"], ["mt_bench of b base"])
    assert "is judging it" in found["failed"]["mt_bench of a base"]


def test_files_of_the_judge_are_looked_for_in_the_store_that_was_moved_here(
    server: Server, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.root / "data").mkdir()
    for name in ("questions", "prompts", "references"):
        (tmp_path / f"{name}.jsonl").rename(store.root / "data" / f"{name}.jsonl")
    assert judged(store, *here(server), "--yes") == 0
    assert "2 of 2 models judged: 12 calls" in capsys.readouterr().out


def test_status_and_report_say_what_waits_for_a_judge_alone(store: Store, plan: Plan) -> None:
    found = status.status(plan, store, next((store.root / "sweeps").iterdir()).name)
    assert [(run["state"], run["scores_done"]) for run in found["runs"]] == [("unjudged", 0)] * 2 + [("missing", 0)]
    assert found["scores"] == {"done": 0, "total": 3}
    assert found["totals"]["scores_to_judge"] == 2
    missing = collect(plan, store, "the-sweep").missing
    assert [("not judged yet: sft-sweeps judge the-sweep" in text) for text in missing] == [True, True, False]


def test_only_an_encrypted_address_wants_a_key(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = score_of(plan.generations[0]).generation.benchmark.judge
    assert judge is not None
    assert "NO_SUCH_KEY" in cannot_ask(judge)
    assert cannot_ask(replace(judge, base_url="http://localhost:8000/v1")) == ""
    monkeypatch.setenv("NO_SUCH_KEY", " \n")
    assert cannot_ask(judge)
    monkeypatch.setenv("NO_SUCH_KEY", KEY)
    assert cannot_ask(judge) == ""


def test_a_ceiling_refuses_no_launch_that_asks_nobody(plan: Plan, store: Store) -> None:
    def bill(**changes: Any) -> judge_cost.Bill:
        def priced(generation: Generation) -> Generation:
            judge = replace(generation.benchmark.judge, prompt_usd=30.0, max_cost_usd=1e-6, **changes)  # type: ignore[type-var]
            return replace(generation, benchmark=replace(generation.benchmark, judge=judge))

        return judge_cost.estimate(survey(replace(plan, generations=tuple(map(priced, plan.generations))), store))

    left, asked = bill(), bill(base_url="http://localhost:1/v1")
    assert (left.problem(), left.left_open) == ("", "no key in the environment variable NO_SUCH_KEY")
    assert "left open (no key in the environment variable NO_SUCH_KEY): sft-sweeps judge" in left.line()
    assert asked.problem()
    assert (asked.left_open, "left open" in asked.line()) == ("", False)
