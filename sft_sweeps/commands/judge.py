"""`sft-sweeps judge SWEEP`: asks the judge about answers that a launch left unjudged, once it is said what that costs.

It needs the sweep's store, the judge's key in the environment and a network; no GPU, no worker. What is interrupted or
fails is kept reply by reply, and the same command goes on.
"""

import argparse
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import Progress

from sft_sweeps.commands.command import Command, add_json, add_output_dir, add_sweep, print_json
from sft_sweeps.config import site
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.spec.evaluation import Judge
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find
from sft_sweeps.terminal import console, counted, say

if TYPE_CHECKING:
    from sft_sweeps.score.judge_cost import Bill
    from sft_sweeps.score.open_judging import Judged, OpenJudging

SCHEMA = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask whether it may cost that")
    parser.add_argument("--dry-run", action="store_true", help="say what it would ask and cost; ask nothing")
    parser.add_argument("--max-usd", type=float, metavar="USD", help="stop before it costs more (needs prices)")
    parser.add_argument("--prices", metavar="IN,OUT", help="US dollars for a million tokens, like 30,60")
    parser.add_argument("--judge", metavar="MODEL", help="another judge than the sweep's: scores of their own")
    parser.add_argument("--base-url", metavar="URL", help="where the judge is asked, like http://localhost:8000/v1")
    parser.add_argument("--key-variable", metavar="NAME", help="the environment variable that holds the key")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.score import open_judging

    sweep = find(Store(options.output_dir), options.sweep)
    store, out = sweep.store(options.output_dir), console(stderr=options.json)
    work = open_judging.open_judging(sweep.plan(), store, lambda judge: _asked(judge, options))
    _fetch_files(work)
    bill = work.bill
    if not work.generations:
        return _end(options, sweep.name, work, bill, None)
    say(out, escape(f"sweep {sweep.name}: {bill.text('type --prices IN,OUT')}"))
    if options.dry_run:
        return _end(options, sweep.name, work, bill, None)
    _may_ask(work, bill, options)
    with _stopping() as stop, Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("judging", total=len(work.generations))
        done = open_judging.judge_all(work, bill, sweep.name, lambda: bool(stop), lambda: bar.advance(task))
    return _end(options, sweep.name, work, bill, done)


def _asked(judge: Judge, options: argparse.Namespace) -> Judge:
    """The planned judge with what was typed in place of its settings."""
    from sft_sweeps.benchmarks.judging import prices

    prompt, completion = prices(options.prices) if options.prices else (judge.prompt_usd, judge.completion_usd)
    most = judge.max_cost_usd if options.max_usd is None else options.max_usd
    url = options.base_url or judge.base_url
    if options.max_usd is not None and not 0 < most < math.inf:
        raise RequestError(f"--max-usd {most} is no amount; write it like --max-usd 10")
    if most and not prompt + completion:
        raise RequestError("--max-usd needs --prices IN,OUT: US dollars for a million tokens")
    if not url.startswith(("http://", "https://")) or "@" in url or "?" in url:
        raise RequestError(
            f"--base-url {url} is no address without a user, password or query; like http://host:8000/v1"
        )
    return replace(
        judge,
        model=options.judge or judge.model,
        base_url=url,
        key_variable=options.key_variable or judge.key_variable,
        prompt_usd=prompt,
        completion_usd=completion,
        max_cost_usd=most,
    )


def _may_ask(work: "OpenJudging", bill: "Bill", options: argparse.Namespace) -> None:
    """RequestError unless the judge can be asked from here, costs no more than it may, and the user says yes."""
    from sft_sweeps.benchmarks.judging import cannot_ask, missing_texts

    assert bill.judge is not None
    if why := cannot_ask(bill.judge):
        raise RequestError(f"{why}; set it, or name another with --key-variable NAME. A local server: --base-url URL")
    asked = {(g.benchmark.judge, g.benchmark.name) for g in work.generations if g.benchmark.judge}
    texts = [text for judge, name in asked for text in missing_texts(judge, name)]
    if texts:
        raise RequestError("\n".join(dict.fromkeys(texts)))
    if bill.judge.max_cost_usd and bill.total.cost_usd > bill.judge.max_cost_usd:
        raise RequestError(
            f"judging is expected to cost ${bill.total.cost_usd:,.2f}, more than ${bill.judge.max_cost_usd:,.2f}; "
            f"type --max-usd {bill.total.cost_usd * 1.2:.2f}"
        )
    if not options.yes and not _confirmed(f"ask {bill.judge.model} at {bill.judge.base_url}?"):
        raise RequestError("nothing was asked; type --yes to say yes beforehand")


def _confirmed(question: str) -> bool:
    """Whether the user says yes; asked on standard error, for standard output may be a file."""
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def _stopping() -> Iterator[list[int]]:
    """A list that gets the signals which ask to stop; what is asked is waited for and kept."""
    got: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: got.append(number)) for number in signals]
    try:
        yield got
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def _fetch_files(work: "OpenJudging") -> None:
    """Fetch the published files that judging reads and that are not here, to where the plan has them."""
    benchmarks = {g.benchmark for g in work.generations}
    wanted = {Path(p) for b in benchmarks if b.judge for p in (b.path, b.judge.prompts_path, b.judge.references_path)}
    absent = {path for path in wanted if not path.is_file()}
    if not absent:
        return
    from sft_sweeps.launch import benchmark_files  # the configuration's schema, which judging does without
    from sft_sweeps.launch.download import download_all

    names = {benchmark.name for benchmark in benchmarks}
    known = {
        path: e for p in absent for path, e in benchmark_files.published(names, p.parent).items() if path in absent
    }
    if failed := download_all(known, console(stderr=True)):
        raise RunError("\n".join(failed.values()))


def _end(options: argparse.Namespace, sweep: str, work: "OpenJudging", bill: "Bill", done: "Judged | None") -> int:
    """Print what came of it, and the exit status."""
    if options.json:
        print_json(SCHEMA, to_json(sweep, work, bill, done))
    else:
        _show(sweep, work, done, site.command(options.output_dir, "report", sweep))
    return RunError.exit_status if done and done.failed else 0


def to_json(sweep: str, work: "OpenJudging", bill: "Bill", done: "Judged | None") -> dict[str, Any]:
    """What `--json` prints; of `done`, None where nobody was asked, with the scores that were there before."""
    made = done.scores if done else {}
    return {
        "sweep": sweep,
        "judge": bill.judge.model if bill.judge else "",
        "to_judge": [generation.subject.id for generation in work.generations],
        "unanswered": work.unanswered,
        "estimate": asdict(bill.total),
        "asked": done is not None,
        "scores": {name: asdict(one) for name, one in {**work.scores, **made}.items()},
        "failed": done.failed if done else {},
        "spent": {key: getattr(done, key, 0) for key in ("calls", "cached", "spent_usd")},
    }


def _show(sweep: str, work: "OpenJudging", done: "Judged | None", report: str) -> None:
    out, scores = console(), {**work.scores, **(done.scores if done else {})}
    for name, one in scores.items():
        say(out, escape(f"{name}: {one.text()}"))
    for name, why in (done.failed if done else {}).items():
        say(out, f"[red]failed[/] {escape(f'{name}: {why}')}")
    if done is not None:
        dollars = f", ${done.spent_usd:,.2f}" if done.spent_usd else ""
        count = f"{len(done.scores)} of {counted(len(work.generations), 'model')} judged"
        kept = f", {done.cached:,} replies were kept from before" if done.cached else ""
        say(out, f"{count}: {done.calls:,} calls{dollars}{kept}")
        say(out, "every reply is kept: the same command goes on" if done.failed else escape(f"see: {report}"))
    elif not work.generations:
        say(out, f"sweep {sweep}: nothing to judge" + ("" if scores or work.unanswered else ", it has no judge"))
    if work.unanswered:
        say(out, f"{counted(work.unanswered, 'model')} not answered yet: launch the sweep again, then judge the rest")


ABOUT = """\
A launch without a judge's key answers the benchmarks and leaves their judging open. What is asked here is priced first;
every reply is kept, so the same command goes on where it was interrupted. The key is read from the environment."""
COMMAND = Command(
    "judge",
    "ask the judge about answers that a launch left unjudged, priced first",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps judge SWEEP --dry-run  # what it would ask, and what that costs",
        "sft-sweeps judge SWEEP --yes --max-usd 20 --prices 30,60  # needs a network",
    ),
    topic="results",
)
