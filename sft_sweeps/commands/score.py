"""`sft-sweeps score`: score, write the result at once, and print it in a few lines."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import Progress

from sft_sweeps.commands.command import Command
from sft_sweeps.config.checks import ISOLATIONS, PROPERTIES
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Isolation
from sft_sweeps.files.content import content_of
from sft_sweeps.files.json_files import write_json
from sft_sweeps.sandbox import run as sandbox
from sft_sweeps.spec import Judge
from sft_sweeps.terminal import console


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("benchmark", choices=["gsm8k", "humaneval", "mt_bench"])
    parser.add_argument(
        "file", type=Path, metavar="FILE.jsonl", help="gsm8k: id, completion, gold; humaneval: task_id, ..."
    )
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.json", help="items and scores, as JSON")
    parser.add_argument("--partial", action="store_true", help="score a set that is not complete, and name it so")
    code = parser.add_argument_group("humaneval")
    code.add_argument(
        "--tasks", type=Path, metavar="FILE", help="HumanEval+ in the original layout (default: HumanEval)"
    )
    code.add_argument(
        "--extract", action="store_true", help="completions are a chat model's answers, not continuations"
    )
    code.add_argument("--strict", action="store_true", help="checks run in another process than the program")
    code.add_argument("--isolation", default="auto", help="layers of the sandbox (default: all that work here)")
    code.add_argument(
        "--require", default="net,kill", help="refuse without: fs, net, kill, forge (default: %(default)s)"
    )
    code.add_argument("--i-accept-running-untrusted-code", action="store_true", help="allow running without isolation")
    talk = parser.add_argument_group("mt_bench")
    talk.add_argument("--questions", type=Path, metavar="FILE", help="FastChat's question.jsonl")
    talk.add_argument("--prompts", type=Path, metavar="FILE", help="FastChat's judge_prompts.jsonl")
    talk.add_argument("--references", type=Path, metavar="FILE", help="FastChat's reference_answer/gpt-4.jsonl")
    talk.add_argument("--judgments", type=Path, metavar="FILE", help="recorded judgments, in place of a judge")
    talk.add_argument("--judge", default="", metavar="MODEL", help="the judge's name at the endpoint")
    talk.add_argument("--base-url", default="https://api.openai.com/v1", help="the endpoint (default: %(default)s)")
    talk.add_argument(
        "--key-variable", default="OPENAI_API_KEY", metavar="NAME", help="environment variable of the key"
    )
    talk.add_argument("--repeats", type=int, default=1, help="judgments of each answer (default: %(default)s)")
    talk.add_argument("--prices", default="0,0", metavar="IN,OUT", help="US dollars for a million tokens")
    talk.add_argument("--max-cost-usd", type=float, default=0.0, help="stop before it costs more (needs --prices)")
    talk.add_argument("--cache", type=Path, metavar="FOLDER", help="of replies (default: beside OUT.json)")
    talk.add_argument("--dry-run", action="store_true", help="say what judging would ask and cost; ask nothing")


def run(options: argparse.Namespace) -> int:
    """Exit status 0: scored (or told what it would cost)."""
    if not options.out.parent.is_dir() and not options.dry_run:
        raise RequestError(f"--out {options.out}: there is no folder {options.out.parent}")
    from sft_sweeps.score import from_file

    if options.benchmark == "gsm8k":
        result = from_file.score_gsm8k(options.file, options.partial)
    elif options.benchmark == "humaneval":
        result = _humaneval(options)
    else:
        found = _mt_bench(options)
        if found is None:
            return 0
        result = found
    try:
        write_json(options.out, result)
    except OSError as error:
        raise RequestError(f"--out {options.out} cannot be written ({error.strerror})") from error
    _show(result)
    print(f"written: {options.out}")
    return 0


def _humaneval(options: argparse.Namespace) -> dict[str, Any]:
    required = tuple(filter(None, options.require.split(",")))
    for key, value, valid in (
        *(("--require", name, PROPERTIES) for name in required),
        ("--isolation", options.isolation, ISOLATIONS),
    ):
        if value not in valid:
            raise RequestError(f"{key} {value} is unknown; valid: {', '.join(valid)}")
    isolation = Isolation(options.isolation, required, options.strict, options.i_accept_running_untrusted_code)
    if isolation.mode == "none" and not isolation.accept:
        raise RequestError("--isolation none needs --i-accept-running-untrusted-code (and --require '')")
    from sft_sweeps.score import from_file

    sandbox.check(isolation)
    print(f"sandbox: {', '.join(sandbox.describe(isolation))}", flush=True)
    with _bar("programs") as tick:
        return from_file.score_humaneval(
            options.file,
            options.tasks,
            partial=options.partial,
            extract=options.extract,
            isolation=isolation,
            progress=tick,
        )


def _mt_bench(options: argparse.Namespace) -> dict[str, Any] | None:
    from sft_sweeps.score import from_file
    from sft_sweeps.score import judge as judging  # httpx, which the other benchmarks do not need

    for name in ("questions", "prompts", "references"):
        path = getattr(options, name)
        if path is None or not path.is_file():
            raise RequestError(
                f"mt_bench needs --{name} FILE, as FastChat published it{f': no {path}' if path else ''}"
            )
    if not options.judge and not options.judgments:
        raise RequestError("mt_bench needs --judge MODEL (and --base-url), or recorded --judgments FILE")
    judge = _judge(options)
    rows = from_file.read(options.file)
    gradings = from_file.mt_bench_gradings(rows, options.questions, judging.given(judge), options.file)
    if options.judgments:
        grades = from_file.recorded(options.judgments, gradings, str(rows[0].get("model_id", "")))
        return from_file.score_mt_bench(grades, options.file, options.partial) | {"judge": "recorded"}
    bench = judging.JudgeClient(judge, options.cache or Path(f"{options.out}.judgments"))
    foreseen = bench.estimate(gradings)
    print(
        f"{foreseen.calls} calls ({foreseen.cached} more are kept), about {foreseen.prompt_tokens:,} + "
        f"{foreseen.completion_tokens:,} tokens, ${foreseen.cost_usd:.2f}",
        flush=True,
    )
    if options.dry_run:
        return None
    with _bar("judgments") as tick:
        grades = bench.grade(gradings, tick)
    spent = bench.spending
    tokens = f"{spent.prompt_tokens:,} + {spent.completion_tokens:,} tokens"
    print(f"asked {spent.calls} times, {tokens}, ${spent.cost_usd:.2f}")
    return from_file.score_mt_bench(grades, options.file, options.partial) | {"judge": judge.model}


def _judge(options: argparse.Namespace) -> Judge:
    try:
        price_in, price_out = map(float, options.prices.split(","))
    except ValueError as error:
        raise RequestError(f"--prices {options.prices} is not IN,OUT; write it like --prices 30,60") from error
    if options.max_cost_usd and not price_in + price_out:
        raise RequestError("--max-cost-usd needs --prices IN,OUT: US dollars for a million tokens")
    if options.repeats < 1:
        raise RequestError(f"--repeats {options.repeats} judges nothing; give at least 1")
    return Judge(
        model=options.judge,
        revision="",
        prompts=content_of(options.prompts)[0],
        references=content_of(options.references)[0],
        temperature=0.0,
        max_tokens=2048,
        repeats=options.repeats,
        prompts_path=str(options.prompts),
        references_path=str(options.references),
        base_url=options.base_url,
        key_variable=options.key_variable,
        max_cost_usd=options.max_cost_usd,
        prompt_usd=price_in,
        completion_usd=price_out,
    )


class _bar:  # noqa: N801
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        out = console(stderr=True)
        self.progress = Progress(console=out, transient=True, disable=not out.is_terminal)
        self.task = self.progress.add_task(what, total=None)

    def __enter__(self) -> Callable[[int], None]:
        self.progress.start()
        return lambda done: self.progress.update(self.task, completed=done)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


def _show(result: dict[str, Any]) -> None:
    if result["partial"]:
        print(f"PARTIAL: not all {result['total']:,} items of {result['benchmark']} are here; this is not its score")
    for name, value in result["scores"].items():
        if isinstance(value, dict) and "value" in value:
            share = f" ({value['k']}/{value['n']})" if value.get("k") is not None else ""
            print(f"{name:24} {value['value']:.4f}{share} [{value['low']:.4f}, {value['high']:.4f}]")
        elif isinstance(value, int | float) or value is None:
            print(f"{name:24} {'not told: too many are missing' if value is None and name == 'score' else value}")


COMMAND = Command("score", "score existing generations, without a model", run, _add_arguments)
