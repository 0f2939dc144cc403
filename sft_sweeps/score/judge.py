"""Asks a judge, over any endpoint that speaks OpenAI's chat protocol; never pays twice for the same answer.

Every reply is kept at once under the hash of everything that it answers (judge, sampling, full prompt, repeat), so that
an interrupted judging goes on where it was, and the same answer in another sweep costs nothing. What is sent and
received, and that the key is nowhere else, is `endpoint`'s.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tenacity

from sft_sweeps.benchmarks.judging import CHARACTERS_PER_TOKEN, Grade, Grading, Spending, rating
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.identity import canonical_json
from sft_sweeps.score.endpoint import Endpoint, EndpointError, Reply
from sft_sweeps.spec.evaluation import Judge

ASSUMED_COMPLETION = 200  # tokens of a reply, for estimates: 480 recorded ones of GPT-4 have 796 characters on average
LONGEST_PAUSE = 60.0  # seconds between two tries
MOST_TOKENS = 10**7  # that an endpoint may say it counted
ONLY_A_RATING = 'Reply with the rating alone, in this format: "[[rating]]", for example: "[[5]]".'
Messages = Sequence[Mapping[str, str]]


class JudgeClient:
    """A judge with its cache; several threads may ask it."""

    def __init__(self, judge: Judge, cache: Path, stop: Callable[[], bool] = lambda: False) -> None:
        self.judge, self.cache, self.stop = judge, cache, stop
        self.spending, self.reserved = Spending(), 0.0
        self.lock = threading.Lock()
        self.asking: dict[Path, threading.Lock] = {}

    @cached_property
    def endpoint(self) -> Endpoint:
        """Made when it is asked: an estimate needs no key."""
        return Endpoint(self.judge.base_url, self.judge.key_variable, self.judge.timeout)

    def grade(self, wanted: Sequence[Grading], progress: Callable[[int], None] = lambda _: None) -> list[Grade]:
        """Every grading as often as the judge repeats, in order; what is paid for is kept whatever happens."""
        asked = [(grading, repeat) for grading in wanted for repeat in range(self.judge.repeats)]
        grades = []
        with ThreadPoolExecutor(self.judge.workers) as pool:
            try:
                for done, grade in enumerate(pool.map(lambda one: self._grade(*one), asked), 1):
                    grades.append(grade)
                    progress(done)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return grades

    def _grade(self, grading: Grading, repeat: int) -> Grade:
        """One grade; a reply without a rating is asked once for the rating alone."""
        messages = [{"role": role, "content": content} for role, content in grading.messages]
        missing = Grade(grading.question, grading.category, grading.turn, grading.sample, repeat, None)
        try:
            text = self.ask(messages, repeat)
            score = rating(text)
            if score is None:
                again = [{"role": "assistant", "content": text or "-"}, {"role": "user", "content": ONLY_A_RATING}]
                score = rating(self.ask([*messages, *again], repeat))
        except _Unanswered as error:
            return replace(missing, why=str(error))
        why = "" if score is not None else "no rating in 1 ... 10, or several different ones"
        return replace(missing, score=score, why=why, text=text)

    def ask(self, messages: Messages, repeat: int) -> str:
        """The judge's reply, from the cache or the endpoint."""
        if self.stop():
            raise Interrupted("judging stopped; every reply is kept: launch again to continue")
        body = self.body(messages)
        path = self.path(body, repeat)
        with self.lock:
            asking = self.asking.setdefault(path, threading.Lock())
        with asking:  # equal answers to one question are equal requests, and workers may hold both
            kept = _kept(path)
            if kept is None:
                kept = {"request": {**body, "revision": self.judge.revision, "repeat": repeat}, **self._paid(body)}
                write_json(path, kept)
            else:
                with self.lock:
                    self.spending.cached += 1
        return str(kept["response"]["choices"][0]["message"]["content"] or "")

    def body(self, messages: Messages) -> dict[str, Any]:
        """The request as the protocol has it."""
        judge = self.judge
        sampling = {"temperature": judge.temperature, "max_tokens": judge.max_tokens}
        return {"model": judge.model, "messages": list(messages), **sampling}

    def path(self, body: Mapping[str, Any], repeat: int) -> Path:
        """Where the reply to a request is kept."""
        text = canonical_json({**body, "revision": self.judge.revision, "repeat": repeat})
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.cache / digest[:2] / f"{digest[2:]}.json"

    def _paid(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A reply with what it cost; the ceiling is held even if every call in flight costs the most it can."""
        most = self.dollars(sum(len(m["content"]) for m in body["messages"]) / 2, self.judge.max_tokens)
        with self.lock:
            spent = self.spending.cost_usd
            if self.judge.max_cost_usd and spent + self.reserved + most > self.judge.max_cost_usd:
                raise RunError(
                    f"judging has cost ${spent:.2f} and the next call may pass max_cost_usd={self.judge.max_cost_usd}; "
                    "every reply is kept: raise it and launch again to continue"
                )
            self.reserved += most
        try:
            response = self._sent(body)
        finally:
            with self.lock:
                self.reserved -= most
        prompt, completion = _usage(body, response)
        cost = self.dollars(prompt, completion)
        with self.lock:
            self.spending.calls += 1
            self.spending.prompt_tokens += prompt
            self.spending.completion_tokens += completion
            self.spending.cost_usd += cost
        return {"response": response, "cost_usd": cost}

    def dollars(self, prompt: float, completion: float) -> float:
        """The price of so many tokens."""
        return (prompt * self.judge.prompt_usd + completion * self.judge.completion_usd) / 1e6

    def _sent(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The endpoint's answer; overload and broken connections are waited out."""
        tries = self.judge.retries + 1
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            stop=tenacity.stop_after_attempt(tries),
            wait=_pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._sent_once, body)
        except _TryAgain as error:
            raise _Unanswered(f"no answer after {tries} tries ({error})") from error

    def _sent_once(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The endpoint's answer; _TryAgain where another try may get one, _Unanswered where it cannot."""
        try:
            reply = self.endpoint.ask(body)
        except EndpointError as error:
            raise _TryAgain(str(error)) from error
        if reply.status == 200:
            if (answer := _answer(reply)) is not None:
                cleaned: dict[str, Any] = self.endpoint.clean_value(answer)
                return cleaned
            raise _TryAgain("a reply that is not a chat completion")
        if reply.status in (401, 403):
            raise RunError(
                f"{self.judge.base_url} refuses the key in the environment variable {self.judge.key_variable} "
                f"({reply.status}); set a valid one and launch again, what is judged is kept"
            )
        if reply.status in (408, 409, 429) or reply.status >= 500:
            raise _TryAgain(f"{reply.status}, retry after {reply.after}", reply.after)
        raise _Unanswered(f"refused with {reply.status}: {self.endpoint.shown(reply.text)}")

    def _sleep(self, seconds: float) -> None:
        """Wait; Interrupted as soon as a signal came."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.stop():
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))
        if self.stop():
            raise Interrupted("judging stopped; every reply is kept: launch again to continue")

    def estimate(self, wanted: Sequence[Grading], *, assumed: bool = False) -> Spending:
        """What `grade` would ask, without asking: tokens are estimated from characters.

        Equal answers (greedy ones, of several samples) are asked about once, unless they are only `assumed` ones.
        """
        expected, paths = Spending(), set[Path]()
        for grading in wanted:
            messages = [{"role": role, "content": content} for role, content in grading.messages]
            body = self.body(messages)
            for repeat in range(self.judge.repeats):
                path = self.path(body, repeat)
                if _kept(path) is not None or (path in paths and not assumed):
                    expected.cached += 1
                    continue
                paths.add(path)
                expected.calls += 1
                expected.prompt_tokens += round(sum(len(m["content"]) for m in messages) / CHARACTERS_PER_TOKEN)
                expected.completion_tokens += ASSUMED_COMPLETION
        expected.cost_usd = self.dollars(expected.prompt_tokens, expected.completion_tokens)
        return expected


class _Unanswered(Exception):  # noqa: N818
    """The judge did not grade this answer: it is missing, and the others go on."""


class _TryAgain(Exception):  # noqa: N818
    """The endpoint gave no answer this time; `after` is what it says of when to ask again, in seconds or as a date."""

    def __init__(self, why: str, after: str = "") -> None:
        super().__init__(why)
        self.after = after


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try: as long as the endpoint asks for, else exponential with jitter."""
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, _TryAgain) else ""
    exponential = 2.0 ** (state.attempt_number - 1) * random.uniform(0.5, 1)
    in_seconds = after.isascii() and after.replace(".", "", 1).isdigit()
    return min(float(after) if in_seconds else exponential, LONGEST_PAUSE)


def _usage(body: Mapping[str, Any], response: Mapping[str, Any]) -> tuple[int, int]:
    """(prompt, completion) tokens: what the endpoint counted, or, where that cannot be, an estimate from the texts.

    A count that is missing or negative would let the ceiling on the cost be passed.
    """
    usage = response.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    asked = sum(len(message["content"]) for message in body["messages"])
    said = len(response["choices"][0]["message"]["content"] or "")
    return _tokens(counted.get("prompt_tokens"), asked), _tokens(counted.get("completion_tokens"), said)


def _tokens(count: object, characters: int) -> int:
    if isinstance(count, int | float) and not isinstance(count, bool) and 0 <= count <= MOST_TOKENS:
        return round(count)
    return round(characters / CHARACTERS_PER_TOKEN)


def _answer(reply: Reply) -> dict[str, Any] | None:
    """The body of a chat completion, None for anything else."""
    try:
        body = reply.json()
        content = body["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return body if isinstance(body, dict) and (content is None or isinstance(content, str)) else None


def _kept(path: Path) -> dict[str, Any] | None:
    """A reply that was kept; what cannot be read is asked for again."""
    try:
        reply = read_json(path)
        content = reply["response"]["choices"][0]["message"]["content"]
        return reply if content is None or isinstance(content, str) else None
    except (ValueError, OSError, KeyError, IndexError, TypeError):
        return None
