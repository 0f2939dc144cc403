"""MT-Bench: recorded judgments reproduced, and a judge asked over a real server that speaks the protocol."""

import base64
import contextlib
import gzip
import importlib.util
import json
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import common
import pytest
import references
import tiny
import values
from common import ROOT, Launch, needs_shared
from fast_chat import command, fast_chat
from fixture_files import FIXTURES
from hypothesis import given
from hypothesis import strategies as st
from judge_server import Reply, Server, said

from sft_sweeps.benchmarks import from_file
from sft_sweeps.benchmarks import mt_bench_grading as mt_bench
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.judging import Grade, Grading, JudgeTexts, first_rating, rating
from sft_sweeps.benchmarks.mt_bench_grading import gradings
from sft_sweeps.commands import main
from sft_sweeps.errors import Interrupted, RequestError, RunError
from sft_sweeps.files.content import content_pin
from sft_sweeps.plan.build import State, build, score_of
from sft_sweeps.score import judge as judging
from sft_sweeps.score import judge_cost
from sft_sweeps.spec.evaluation import Judge
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey

SHARED = common.SHARED / "data"
QUESTIONS = SHARED / "benchmarks" / "mt_bench_questions.jsonl"
PROMPTS = SHARED / "benchmarks" / "mt_bench_judge_prompts.jsonl"
REFERENCES = SHARED / "benchmarks" / "mt_bench_reference_answers_gpt4.jsonl"
KEY = "sk-very-secret-0123456789"
KEY_COST = "evaluate.mt_bench.judge.max_cost_usd"


def packed(name: str) -> list[dict]:
    with gzip.open(SHARED / "oracles" / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Rating: [[7]]", 7.0),
        ("[[8.5]] and so", 8.5),
        ("[[ 9 ]]", 9.0),
        ("first [[3]], then [[9]]", None),
        ("Rating: [[95]]", None),
        ("[[0]]", None),
        ("[[10]]", 10.0),
        ("[[10.5]]", None),
        ("Rating: 7", None),
        ("[7]", None),
        ("[[seven]]", None),
        ("", None),
        ("[[" * 10**5, None),
        ("[[-3]]", None),
        ("$ERROR$", None),
    ],
)
def test_ratings_are_parsed_strictly(reply: str, score: float | None) -> None:
    assert rating(reply) == score


@given(st.lists(st.sampled_from(["1", "10", "5.5", "95", "0"]), max_size=4), st.text("ab [](", max_size=5))
def test_a_reply_with_different_ratings_has_none(numbers: list[str], between: str) -> None:
    reply = between.join(f"[[{number}]]" for number in numbers)
    expected = float(numbers[0]) if len(set(numbers)) == 1 and 1 <= float(numbers[0]) <= 10 else None
    assert rating(reply) == expected
    first = float(numbers[0]) if numbers and 1 <= float(numbers[0]) <= 10 else None
    assert first_rating(reply) == first


@pytest.mark.parametrize(("category", "kind"), [("writing", "single"), ("math", "single-math")])
def test_requests_are_fastchats(category: str, kind: str) -> None:
    """Character by character, for its own prompts; what looks like a field in a question or an answer stays text."""
    rows = from_file.read(FIXTURES / "mt_bench_judge_prompts.jsonl")
    turns, answers, truth = ("What is {answer}?", "Why?\n"), ("One {question}.", " {ref_answer_1} }{"), ("1", "{2}")
    texts = mt_bench.texts(rows, [{"question_id": 7, "choices": [{"turns": list(truth)}]}])
    made = gradings(Item("7", turns, {"category": category}), answers, 0, texts)
    prompts = {row["name"]: row for row in rows}
    for grading, name in zip(made, (f"{kind}-v1", f"{kind}-v1-multi-turn"), strict=True):
        given = truth if kind == "single-math" else ()
        assert list(grading.messages) == references.judge_request(prompts[name], turns, answers, given)


def test_means_are_of_all_answers_by_turn_and_by_category() -> None:
    scores = {("1", "math"): (8.0, 3.0), ("2", "math"): (6.0, 5.0), ("3", "coding"): (10.0, 1.0)}
    grades = [Grade(q, c, turn, 0, 0, score) for (q, c), both in scores.items() for turn, score in enumerate(both, 1)]
    found = mt_bench.summary(grades)
    assert (found["n"], found["questions"], found["missing"]) == (6, 3, 0)
    assert found["score"]["value"] == pytest.approx(33 / 6)
    assert {turn: mean["value"] for turn, mean in found["turns"].items()} == {"1": 8.0, "2": 3.0}
    assert {name: mean["value"] for name, mean in found["categories"].items()} == {"math": 5.5, "coding": 5.5}


@needs_shared
def test_every_recorded_prompt_and_score_is_reproduced() -> None:
    """FastChat's prompts character by character, for two models whose answers are recorded; all 480 ratings."""
    known = {q.id: q for q in mt_bench.questions(from_file.read(QUESTIONS))}
    texts = mt_bench.texts(from_file.read(PROMPTS), from_file.read(REFERENCES))
    wanted = {}
    for row in packed("mt_bench_answers.jsonl.gz"):
        for made in gradings(known[str(row["question_id"])], row["choices"][0]["turns"], 0, texts):
            wanted[row["model_id"], made.question, made.turn] = made.messages[1][1]
    judgments, same = packed("mt_bench_gpt4_judgments.jsonl.gz"), 0
    assert len(judgments) == 480
    for row in judgments:
        assert rating(row["judgment"]) == row["score"]
        prompt = wanted.get((row["model"], str(row["question_id"]), row["turn"]))
        if prompt is not None:
            assert prompt == row["user_prompt"]
            same += 1
    assert same == 320


@needs_shared
@pytest.mark.parametrize(
    ("model", "first", "second", "both"),
    [
        ("llama2_chat_7b", 6.70625, 5.675, 6.190625),
        ("finetune_llama2_chat_7b", 5.3875, 3.8625, 4.625),
        ("finetune_llama2_chat_7b_FFNet", 5.95, 4.2625, 5.10625),
    ],
)
def test_means_of_recorded_judgments(model: str, first: float, second: float, both: float) -> None:
    rows = [row for row in packed("mt_bench_gpt4_judgments.jsonl.gz") if row["model"] == model]
    category = {q.id: q.gold["category"] for q in mt_bench.questions(from_file.read(QUESTIONS))}
    grades = [
        Grade(str(r["question_id"]), category[str(r["question_id"])], r["turn"], 0, 0, rating(r["judgment"]))
        for r in rows
    ]
    found = mt_bench.summary(grades)
    assert (found["n"], found["missing"], found["questions"]) == (160, 0, 80)
    assert found["score"]["value"] == pytest.approx(both)
    assert found["turns"]["1"]["value"] == pytest.approx(first)
    assert found["turns"]["2"]["value"] == pytest.approx(second)
    assert found["score"]["low"] < both < found["score"]["high"]
    assert 0.5 < found["score"]["high"] - found["score"]["low"] < 2
    assert len(found["categories"]) == 8


def grades_of(scores: list[float | None], samples: int = 1) -> list[Grade]:
    return [
        Grade(str(n // 2), "math", n % 2 + 1, s, 0, None if score is None else score + s)
        for s in range(samples)
        for n, score in enumerate(scores)
    ]


def test_more_than_two_percent_missing_is_no_score() -> None:
    assert mt_bench.summary(grades_of([5.0] * 98 + [None] * 2))["score"]["value"] == 5.0
    found = mt_bench.summary(grades_of([5.0] * 97 + [None] * 3))
    assert (found["score"], found["missing"]) == (None, 3)
    assert mt_bench.summary(grades_of([None] * 4))["score"] is None


def test_repeats_of_answers_have_a_spread_of_their_own() -> None:
    found = mt_bench.summary(grades_of([5.0, 6.0, 7.0, 4.0], samples=3))
    assert found["sd_between_answers"] == pytest.approx(1.0)
    assert found["sd_between_judgments"] is None


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch):
    servers = []
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def start(plan: Callable[[dict, int], Reply]) -> Server:
        servers.append(Server(plan))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


TEXTS = JudgeTexts(
    {mt_bench.prompt_name(t, r): ("be fair", f"{{question}}|{{answer}}|{t}{r}") for t in (1, 2) for r in (False, True)},
    {},
)
JUDGE = Judge("judge-1", "", "p", "r", 0.0, 64, 1, key_variable="JUDGE_KEY", workers=3, retries=2, timeout=5.0)


def wanted(count: int = 4) -> list[Grading]:
    found = []
    for n in range(count):
        question = Item(str(n), (f"first {n}", f"second {n}"), {"category": "writing"})
        found += gradings(question, (f"one {n}", f"two {n} {{question}}"), 0, TEXTS)
    return found


def bench(server: Server, cache: Path, **changes: object) -> judging.JudgeClient:
    return judging.JudgeClient(replace(JUDGE, base_url=server.url, **changes), cache)


def test_a_judge_is_asked_once_for_each_answer(serve, tmp_path: Path) -> None:
    server = serve(lambda _body, _number: said("good. [[7]]"))
    first = bench(server, tmp_path, prompt_usd=30, completion_usd=60)
    foreseen = first.estimate(wanted())
    assert (foreseen.calls, foreseen.cached) == (8, 0)
    assert foreseen.cost_usd > 0
    grades = first.grade(wanted())
    assert [grade.score for grade in grades] == [7.0] * 8
    assert server.keys == {f"Bearer {KEY}"}
    assert (first.spending.calls, first.spending.prompt_tokens) == (8, 8000)
    assert first.spending.cost_usd == pytest.approx(8 * (1000 * 30 + 100 * 60) / 1e6)
    assert {body["temperature"] for body in server.bodies} == {0.0}
    again = bench(server, tmp_path)
    assert again.grade(wanted()) == grades
    assert (again.spending.calls, again.spending.cached, len(server.bodies)) == (0, 8, 8)
    assert again.estimate(wanted()).calls == 0
    bench(server, tmp_path, model="judge-2").grade(wanted(1))
    bench(server, tmp_path, repeats=2).grade(wanted(1))
    assert len(server.bodies) == 8 + 2 + 2  # another judge is another grade; of the repeats, the first are kept
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY in path.read_text()]


def test_answers_that_look_like_fields_are_text() -> None:
    """FastChat's str.format would fail, or fill them in."""
    _, second = wanted(1)
    assert "two 0" not in second.messages[1][1]  # this template shows the first answer
    texts = replace(TEXTS, prompts=dict.fromkeys(TEXTS.prompts, ("s", "{answer_2}")))
    question = Item("1", ("a", "b"), {"category": "writing"})
    assert gradings(question, ("x", "{question} {0} {unknown}"), 0, texts)[1].messages[1][1] == (
        "{question} {0} {unknown}"
    )


def test_an_interrupted_judging_resumes_without_paying_twice(serve, tmp_path: Path) -> None:
    server = serve(lambda _body, _number: said("[[5]]"))
    stop = threading.Event()
    stopped = judging.JudgeClient(replace(JUDGE, base_url=server.url, workers=1), tmp_path, stop.is_set)
    with pytest.raises(Interrupted, match="every reply is kept"):
        stopped.grade(wanted(), lambda done: stop.set() if done == 3 else None)
    paid = len(server.bodies)
    assert 3 <= paid <= 5
    assert [g.score for g in bench(server, tmp_path).grade(wanted())] == [5.0] * 8
    assert len(server.bodies) == 8


def test_equal_requests_at_the_same_time_are_paid_once(serve, tmp_path: Path) -> None:
    """Two samples of an answer may be the same text."""

    def slowly(_body: dict, _number: int) -> Reply:
        time.sleep(0.2)
        return said("[[5]]")

    server = serve(slowly)
    twice = [*wanted(1), *wanted(1), *wanted(1)]
    made = bench(server, tmp_path, workers=6)
    assert [grade.score for grade in made.grade(twice)] == [5.0] * 6
    assert (len(server.bodies), made.spending.calls, made.spending.cached) == (2, 2, 4)


def test_a_kept_reply_that_is_damaged_is_asked_for_again(serve, tmp_path: Path) -> None:
    server = serve(lambda _body, _number: said("[[5]]"))
    bench(server, tmp_path).grade(wanted(1))
    for path in tmp_path.rglob("*.json"):
        path.write_text('{"half')
    assert [g.score for g in bench(server, tmp_path).grade(wanted(1))] == [5.0, 5.0]
    assert len(server.bodies) == 4


def test_overload_and_broken_replies_are_waited_out(serve, tmp_path: Path) -> None:
    troubles = {1: (429, {"error": "slow"}), 2: (503, b"<html>"), 3: (200, b"not json"), 4: (0, b""), 5: (200, {})}
    server = serve(lambda _body, number: troubles.get(number, said("[[6]]")))
    grades = bench(server, tmp_path, retries=6, workers=1).grade(wanted(1))
    assert [grade.score for grade in grades] == [6.0, 6.0]
    assert len(server.bodies) == 7


def test_what_is_never_answered_is_missing_and_counted(serve, tmp_path: Path) -> None:
    server = serve(lambda body, _n: said("[[4]]") if "first 0" in str(body) else (500, b"down"))
    grades = bench(server, tmp_path, retries=1).grade(wanted(2))
    assert [grade.score for grade in grades] == [4.0, 4.0, None, None]
    assert "no answer after 2 tries (500" in grades[2].why


def test_a_reply_without_a_rating_is_asked_once_for_it_alone(serve, tmp_path: Path) -> None:
    def plan(body: dict, _: int) -> Reply:
        asked = body["messages"][-1]["content"]
        return said("[[8]]" if asked == judging.ONLY_A_RATING and "first 0" in str(body) else "I like it. [[95]]")

    server = serve(plan)
    grades = bench(server, tmp_path).grade(wanted(2))
    assert [grade.score for grade in grades] == [8.0, 8.0, None, None]
    assert grades[2].why == "no rating in 1 ... 10, or several different ones"
    assert len(server.bodies) == 8


def test_an_empty_reply_is_no_rating(serve, tmp_path: Path) -> None:
    server = serve(lambda _body, _number: said(None))
    assert [grade.score for grade in bench(server, tmp_path).grade(wanted(1))] == [None, None]


def test_an_expired_key_stops_at_once_and_is_not_shown(serve, tmp_path: Path) -> None:
    server = serve(lambda _body, _number: (401, {"error": f"bad key {KEY}"}))
    with pytest.raises(RunError, match="refuses the key in the environment variable JUDGE_KEY") as caught:
        bench(server, tmp_path, workers=1).grade(wanted())
    assert KEY not in str(caught.value)
    assert len(server.bodies) <= 2


def test_a_refusal_that_repeats_the_key_does_not_show_it(serve, tmp_path: Path) -> None:
    server = serve(lambda _body, _number: (400, {"error": f"too long, says {KEY}"}))
    (first, _) = bench(server, tmp_path).grade(wanted(1))
    assert first.score is None
    assert "refused with 400" in first.why
    assert KEY not in first.why


LINE_ENDS = ["\n", "\r\n", "\r", " ", "\t\n"]


@pytest.mark.parametrize("end", LINE_ENDS)
def test_a_keys_line_end_is_no_part_of_it(end: str, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(lambda _body, _number: said("[[7]]"))
    monkeypatch.setenv("JUDGE_KEY", f"{end}{KEY}{end}")
    assert [grade.score for grade in bench(server, tmp_path).grade(wanted(1))] == [7.0, 7.0]
    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("inside", ["\n", "\r", " ", "\x00" if os.name == "nt" else "\x7f", "é", "\u2028", "\x1b[0m"])
def test_an_odd_key_is_refused_and_not_shown(
    inside: str, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(lambda _body, _number: said("[[7]]"))
    monkeypatch.setenv("JUDGE_KEY", KEY[:10] + inside + KEY[10:])
    with pytest.raises(RunError, match="JUDGE_KEY cannot be one: character 11 of") as error:
        bench(server, tmp_path).grade(wanted(1))
    assert KEY[:10] not in str(error.value)
    assert server.bodies == []


ECHOES: dict[str, Callable[[str], str]] = {
    "plain": lambda key: f"Authorization: Bearer {key}",
    "repr": lambda key: repr({"headers": (b"Authorization", f"Bearer {key}".encode())}),
    "url": lambda key: quote(f"Bearer {key}", safe=""),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "hexadecimal": lambda key: key.encode().hex(),
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_an_endpoint_that_echoes_the_key_has_it_kept_nowhere(
    echo: str, status: int, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-+/quoted'\"\\key=="
    monkeypatch.setenv("JUDGE_KEY", key)
    form = ECHOES[echo](key)

    def answers(_: dict, __: int) -> Reply:
        content = said(f"{form} [[7]]")[1] | {form: [form], "headers": {"deep": [{form: form}]}}
        escaped = json.dumps(content).replace("k", "\\u006b")  # JSON's own escapes are another form
        return status, escaped.encode()

    grades = bench(serve(answers), tmp_path, retries=0).grade(wanted(1))
    assert all(grade.score == 7.0 for grade in grades) == (status == 200)
    kept = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert bool(kept) == (status == 200)
    for text in (*kept, *map(repr, grades), *(json.dumps(grade.to_verdict()) for grade in grades)):
        assert key not in text
        assert json.dumps(key)[1:-1] not in text
        assert form not in text
        assert "***" in text or status != 200


class Drip(socketserver.ThreadingTCPServer):
    """Sends its bytes one every tenth of a second, without end."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, head: bytes, byte: bytes) -> None:
        outer = (head, byte)

        class Dripping(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(1 << 16)
                self.request.sendall(outer[0])
                with contextlib.suppress(OSError):
                    for _ in range(300):
                        self.request.sendall(outer[1])
                        time.sleep(0.1)

        super().__init__(("127.0.0.1", 0), Dripping)


@pytest.mark.parametrize(
    ("head", "byte"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
        (b"HTTP/1.1 2", b""),
    ],
)
def test_a_reply_that_drips_ends_with_its_time(head: bytes, byte: bytes, tmp_path: Path) -> None:
    with Drip(head, byte) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        client = judging.JudgeClient(replace(JUDGE, base_url=url, timeout=0.5, retries=0), tmp_path)
        started = time.monotonic()
        grade = client._grade(wanted(1)[0], 0)
        assert time.monotonic() - started < 5
        assert grade.score is None
        assert "no whole reply in 0.5 s" in grade.why
        server.shutdown()


def test_a_huge_reply_is_given_up(serve, tmp_path: Path) -> None:
    huge = (200, b"[" * (12 << 20))
    grades = bench(serve(lambda _body, _number: huge), tmp_path, retries=0, timeout=30.0).grade(wanted(1))
    assert ["a reply of more than 8 MiB" in grade.why for grade in grades] == [True, True]


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {}, *({"prompt_tokens": n, "completion_tokens": n} for n in (-5, "7", 1e99, True, None, [1]))],
)
def test_an_odd_usage_is_estimated_instead(usage: object, serve, tmp_path: Path) -> None:
    """Else a judge that says it cost less than nothing would be asked for ever."""
    reply = (200, json.dumps(said("x" * 393 + "[[ 7 ]]")[1] | {"usage": usage}).encode())
    judge = bench(serve(lambda _body, _number: reply), tmp_path, prompt_usd=10, completion_usd=10)
    assert [grade.score for grade in judge.grade(wanted(1))] == [7.0, 7.0]
    assert judge.spending.completion_tokens == 2 * 100
    assert judge.spending.cost_usd > 0


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10**6,
        b'{"a":' * 10**5,
        b'{"choices": [{"message": {"content": NaN}}]}',
        b'{"choices": [], "choices": 1}',
        b"\xff\xfe",
        b"",
        b"[]",
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": {"content": ["[[7]]"]}}]}',
        b'{"choices": [{"message": {"content": "\\ud800 [[7]]"}}]}',
    ],
)
def test_a_reply_of_any_kind_is_missing_at_most(body: bytes, serve, tmp_path: Path) -> None:
    grades = bench(serve(lambda _body, _number: (200, body)), tmp_path, retries=0).grade(wanted(1))
    assert ["a reply that is not a chat completion" in grade.why for grade in grades] == [True, True]


def test_the_ceiling_is_held(serve, tmp_path: Path) -> None:
    """A call costs $0.036; the most it could is a little more, so that the third may pass a ceiling of $0.1."""
    server = serve(lambda _body, _number: said("[[5]]"))
    costly = bench(server, tmp_path, prompt_usd=30.0, completion_usd=60.0, max_cost_usd=0.075, workers=1)
    with pytest.raises(RunError, match=r"judging has cost \$0\.07 and the next call may pass max_cost_usd=0\.075"):
        costly.grade(wanted())
    assert costly.spending.cost_usd <= 0.075
    assert len(server.bodies) == 2
    assert [g.score for g in bench(server, tmp_path).grade(wanted())] == [5.0] * 8
    assert len(server.bodies) == 8


def test_a_slow_judge_times_out(serve, tmp_path: Path) -> None:
    def plan(_body: dict, number: int) -> Reply:
        time.sleep(1.0 if number == 1 else 0)
        return said("[[3]]")

    server = serve(plan)
    grades = bench(server, tmp_path, timeout=0.3, workers=1).grade(wanted(1))
    assert [grade.score for grade in grades] == [3.0, 3.0]


def test_the_command_judges_and_resumes(serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(lambda _body, _number: said("[[6]]"))
    paths, out = fast_chat(tmp_path), tmp_path / "out.json"
    more = ["--judge", "j", "--base-url", server.url, "--key-variable", "JUDGE_KEY", "--prices", "30,60"]
    assert main.main(command(paths, out, *more, "--dry-run")) == 0
    assert not out.exists()
    assert server.bodies == []
    assert "160 calls (0 more are kept)" in capsys.readouterr().out
    assert main.main(command(paths, out, *more)) == 0
    found = json.loads(out.read_text())
    score = found["scores"]["score"]
    assert score["value"] == 6
    assert 5.5 < score["low"] < 6 < score["high"] < 6.5  # equal grades of 80 questions leave a little open
    assert (found["scores"]["n"], len(found["items"]), found["partial"]) == (160, 160, False)
    assert main.main(command(paths, out, *more)) == 0
    told = capsys.readouterr()
    assert "asked 0 times" in told.out
    assert len(server.bodies) == 160
    assert KEY not in told.out + told.err


def test_the_command_refuses_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, out = fast_chat(tmp_path, questions=79), tmp_path / "out.json"
    judgments = tmp_path / "judgments.jsonl"
    rows = [
        {"question_id": 81 + n, "model": "m", "judge": ["gpt-4", "x"], "turn": turn, "score": 5, "judgment": "[[7]]"}
        for n in range(79)
        for turn in (1, 2)
    ]
    judgments.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for line, says in (
        (command(paths, out), "mt_bench needs --judge MODEL"),
        (command(paths, out, "--judgments", str(judgments)), "answers 79 of the 80 questions"),
        (command({**paths, "prompts": tmp_path / "none"}, out, "--judge", "j"), "mt_bench needs --prompts FILE"),
        (command(paths, out, "--judge", "j", "--max-cost-usd", "1"), "--max-cost-usd needs --prices"),
        (command(paths, out, "--judge", "j", "--prices", "cheap"), "--prices cheap is not IN,OUT"),
    ):
        assert main.main(line) == 2
        assert says in capsys.readouterr().err
    assert not out.exists()
    assert main.main(command(paths, out, "--judgments", str(judgments), "--partial")) == 0
    found = json.loads(out.read_text())
    assert (found["scores"]["score"]["value"], found["partial"]) == (7.0, True)
    judgments.write_text("".join(json.dumps(row | {"judgment": "none"}) + "\n" for row in rows[:8]))
    assert main.main(command(paths, out, "--judgments", str(judgments), "--partial")) == 0
    assert json.loads(out.read_text())["scores"]["score"] is None
    mixed = [rows[0], rows[1] | {"judge": ["gpt-4o", "x"]}]
    judgments.write_text("".join(json.dumps(row) + "\n" for row in mixed))
    assert main.main(command(paths, out, "--judgments", str(judgments), "--partial")) == 2
    assert "several judges" in capsys.readouterr().err


@needs_shared
def test_the_command_reproduces_recorded_judgments(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    rows = [row for row in packed("mt_bench_answers.jsonl.gz") if row["model_id"] == "finetune_llama2_chat_7b"]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judgments = tmp_path / "judgments.jsonl"
    judgments.write_bytes(gzip.decompress((SHARED / "oracles" / "mt_bench_gpt4_judgments.jsonl.gz").read_bytes()))
    paths = {"answers": answers, "questions": QUESTIONS, "prompts": PROMPTS, "references": REFERENCES}
    assert main.main(command(paths, tmp_path / "out.json", "--judgments", str(judgments))) == 0
    found = json.loads((tmp_path / "out.json").read_text())["scores"]
    assert found["score"]["value"] == pytest.approx(4.625)


@needs_shared
def test_what_judging_will_cost_is_foreseen_from_nothing(tmp_path: Path) -> None:
    """Before an answer is there, against the prompts and replies that GPT-4 was given and gave for three models."""
    content = {path: content_pin(path)[0] for path in (QUESTIONS, PROMPTS, REFERENCES)}
    judge = replace(
        JUDGE, prompts=content[PROMPTS], references=content[REFERENCES], prompt_usd=30.0, completion_usd=60.0
    )
    judge = replace(judge, prompts_path=str(PROMPTS), references_path=str(REFERENCES), max_cost_usd=20.0, repeats=2)
    of = {"content": content[QUESTIONS], "path": str(QUESTIONS), "examples": 80, "total": 80, "judge": judge}
    made = [values.generation(values.model(name), name="mt_bench", **of) for name in ("a", "b")]
    empty = build([("x", values.request(strategy="base"))])
    plan = replace(empty, generations=tuple(made), scores=tuple(map(score_of, made)))
    states = {item.id: State("missing") for item in (*made, *plan.scores)}
    bill = judge_cost.estimate(Survey(plan, Store(tmp_path), states))
    rows = packed("mt_bench_gpt4_judgments.jsonl.gz")
    real = [sum(len(row[key]) for row in rows) / 4 / 3 for key in ("user_prompt", "judgment")]
    assert bill.total.calls == 2 * 2 * 160
    assert bill.total.prompt_tokens == pytest.approx(4 * real[0], rel=0.15)
    assert bill.total.completion_tokens == pytest.approx(4 * real[1], rel=0.15)
    assert bill.total.cost_usd == pytest.approx(4 * (30 * real[0] + 60 * real[1]) / 1e6, rel=0.15)
    assert sum(map(bill.share, made)) == pytest.approx(20.0)
    assert "about" in bill.line()
    assert bill.problem().startswith(
        "evaluate.mt_bench.judge.max_cost_usd=20: judging by judge-1: 640 calls for 2 models"
    )
    absent = [replace(g, benchmark=replace(g.benchmark, judge=replace(judge, prompts_path="/none"))) for g in made]
    blind = judge_cost.estimate(Survey(replace(plan, generations=tuple(absent)), Store(tmp_path), states))
    assert "640 calls for 2 models; tokens cannot be told: evaluate.mt_bench.prompts: there is no /none" in blind.line()
    scored = states | {s.id: State("done") for s in plan.scores}
    done = judge_cost.estimate(Survey(plan, Store(tmp_path), scored))
    assert (done.line(), done.problem()) == ("", "")


def test_a_reference_that_is_not_there_is_told() -> None:
    question = Item("9", ("a", "b"), {"category": "math"})
    with pytest.raises(RequestError, match=r"question 9 \(math\) has no reference answer"):
        gradings(question, ("x", "y"), 0, TEXTS)
    assert "JUDGE_KEY" not in os.environ


@pytest.mark.slow
def test_launch_answers_judges_and_tables_and_names_one_judge(serve, tmp_path: Path, launch: Launch) -> None:
    """The whole path with the miniature: two turns answered, graded over HTTP in a job of its own, shown as a limit."""
    server = serve(lambda _body, _number: said("[[4]]"))
    paths = fast_chat(tmp_path)
    line = [
        *("model=mini", "data=mini", "train=mini", "strategy=base", "evaluate=paper", "evaluate.benchmarks=[mt_bench]"),
        *("evaluate.examples=3", "evaluate.mt_bench.max_new_tokens=8", "evaluate.mt_bench.samples=2"),
        *(f"evaluate.mt_bench.{key}={paths[name]}" for key, name in (("path", "questions"), ("prompts", "prompts"))),
        f"evaluate.mt_bench.references={paths['references']}",
        *("evaluate.mt_bench.judge.key_variable=JUDGE_KEY", f"evaluate.mt_bench.judge.base_url={server.url}"),
        *("cluster=local", f"output_dir={tmp_path / 'out'}"),
    ]
    nobody = ["evaluate.mt_bench.judge.base_url=https://judge.invalid/v1", "evaluate.mt_bench.judge.key_variable=NONE"]
    for does in (
        "0 models to score, judging of 1 model left open",
        "nothing to do here",
    ):  # answered, then not asked again
        left = launch(*line, *nobody)
        assert left.returncode == 0, left.stdout + left.stderr
        assert does in left.stdout
        assert "judging is left open (no key in the environment variable NONE); afterwards" in left.stdout
        assert f"sft-sweeps judge {left.stdout.partition('sweep ')[2].partition(':')[0]} --output-dir" in left.stdout
        assert "not judged yet: sft-sweeps judge" in left.stdout
    done = launch(*line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 to be judged" in done.stdout
    interval = re.search(r"4\.000 \(n=3\) \[([\d.]+)–([\d.]+)\] 3 of 80 items", " ".join(done.stdout.split()))
    assert interval
    assert float(interval[1]) < 4 < float(interval[2])  # three equal grades leave much open
    assert len(server.bodies) == 3 * 2 * 2
    again = launch(*line)
    assert "nothing to do" in again.stdout
    assert len(server.bodies) == 12
    answers = next(tmp_path.glob("out/models/*/generations/mt_bench-*/model_answer.jsonl"))
    rows = [json.loads(text) for text in answers.read_text().splitlines()]
    assert [(row["question_id"], len(row["choices"]), len(row["choices"][0]["turns"])) for row in rows] == [
        (81, 2, 2),
        (82, 2, 2),
        (83, 2, 2),
    ]
    text, plan_file = " ".join(done.stdout.split()), tmp_path / "plan.json"
    assert "judging by gpt-4-0613: 12 calls for 1 model, about" in text
    assert "for dollars set evaluate.mt_bench.judge.prompt_usd_per_million" in text
    priced = [
        f"evaluate.mt_bench.judge.{key}" for key in ("prompt_usd_per_million=30", "completion_usd_per_million=60")
    ]
    more = [*priced, "evaluate.mt_bench.judge.max_cost_usd=0.5", "evaluate.examples=4"]
    planned = " ".join(launch(*line, *more, "action=plan", f"plan.output={plan_file}").stdout.split())
    assert "judging by gpt-4-0613: 16 calls for 1 model," in planned
    assert "of at most $0.50; 300 tokens assumed of answers yet to be made" in planned
    assert "a launch would be refused evaluate.mt_bench.judge.max_cost_usd=0.5" not in planned
    judging_told = json.loads(plan_file.read_text())["judging"]
    assert (judging_told["judge"], judging_told["calls"], judging_told["cached"]) == ("gpt-4-0613", 16, 0)
    refused = launch(*line, *more, "evaluate.mt_bench.judge.max_cost_usd=0.1")
    assert refused.returncode == 2
    assert "evaluate.mt_bench.judge.max_cost_usd=0.1: judging by" in " ".join((refused.stdout + refused.stderr).split())
    assert len(server.bodies) == 12
    other = launch("-m", *line, "evaluate.mt_bench.judge.model=gpt-4-0613,gpt-4o")
    assert other.returncode == 2
    assert "2 judges (gpt-4-0613, gpt-4o) would grade one column" in " ".join((other.stdout + other.stderr).split())
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert kept == []


@pytest.mark.slow
# SIGTERM is `long`: one that is killed, and may finish nothing, is the harder.
@pytest.mark.parametrize(
    ("number", "more"), [pytest.param(signal.SIGTERM, 0, marks=pytest.mark.long), (signal.SIGKILL, 4)]
)
def test_a_launch_stopped_while_judging_pays_nothing_twice(
    number: int, more: int, serve, tmp_path: Path, launch: Launch
) -> None:
    """On a signal, what is asked is waited for and kept; what is killed loses the calls in flight, one a worker."""

    def slowly(_body: dict, _number: int) -> Reply:
        time.sleep(0.5)
        return said("[[4]]")

    server, paths = serve(slowly), fast_chat(tmp_path)
    line = [
        *("model=mini", "data=mini", "train=mini", "strategy=base", "evaluate=paper", "evaluate.benchmarks=[mt_bench]"),
        *("evaluate.examples=12", "evaluate.mt_bench.samples=1", "evaluate.mt_bench.max_new_tokens=8"),
        *("cluster=local", "tracking=none"),
        *(f"evaluate.mt_bench.{key}={paths[name]}" for key, name in (("path", "questions"), ("prompts", "prompts"))),
        *(f"evaluate.mt_bench.references={paths['references']}", f"output_dir={tmp_path / 'out'}"),
        *("evaluate.mt_bench.judge.key_variable=JUDGE_KEY", f"evaluate.mt_bench.judge.base_url={server.url}"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    first = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *line], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    )
    while len(server.bodies) < 7 and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(number)
    assert first.wait(timeout=60) == (75 if number == signal.SIGTERM else -number)
    if number == signal.SIGKILL:  # its worker ends by itself, when it has seen that it is alone
        time.sleep(2)
    paid = len(server.bodies)
    assert 7 <= paid < 24
    again = launch(*line)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "4.000 (n=12)" in " ".join(again.stdout.split())
    assert 24 <= len(server.bodies) <= 24 + more
    assert "calls (" in again.stdout  # how many are kept


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("fastapi", "uvicorn", "openai", "accelerate"))),
    reason="LOCAL JUDGE NOT TESTED: `transformers serve` needs pip install 'transformers[serving]'",
)
def test_a_local_judge_works_offline(tmp_path: Path) -> None:
    """Another's server: `transformers serve` with a random model, which rates nothing, is asked twice and kept."""
    folder = tiny.write(tmp_path / "judge")
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }} {% endfor %}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(line, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stderr=subprocess.DEVNULL)
    judge = replace(JUDGE, base_url=f"http://127.0.0.1:{port}/v1", model=str(folder), max_tokens=8, timeout=120.0)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(1)
        first = judging.JudgeClient(judge, tmp_path / "cache")
        grades = first.grade(wanted(1))
        assert [(grade.score, grade.why) for grade in grades] == [
            (None, "no rating in 1 ... 10, or several different ones")
        ] * 2
        assert (first.spending.calls, first.spending.completion_tokens > 0) == (4, True)
    finally:
        server.terminate()
        server.wait()
    assert judging.JudgeClient(judge, tmp_path / "cache").grade(wanted(1)) == grades  # nobody is there any more
