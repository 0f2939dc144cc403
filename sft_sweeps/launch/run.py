"""What `launch.py` does with the points of a sweep: check all of them, plan, then print the plan or launch it."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from sft_sweeps.config.grid import Point
from sft_sweeps.errors import Interrupted, RunError, SweepError
from sft_sweeps.files import full_disk
from sft_sweeps.launch.launch import launch
from sft_sweeps.launch.outcome import Outcome, to_json
from sft_sweeps.launch.points import check, planned, requests
from sft_sweeps.launch.show import show
from sft_sweeps.terminal import console, say


def run(points: Sequence[Point]) -> int:
    """Do what `action` asks for; errors are printed as their message alone. The exit status."""
    err, config = console(stderr=True), points[0].config
    try:
        if not config.plan.json:
            return _act(points).status
        with contextlib.redirect_stdout(sys.stderr):
            outcome = _act(points)
        print(to_json(outcome, config.action, config.output_dir))
        return outcome.status
    except KeyboardInterrupt:
        say(err, "interrupted; what is finished or submitted is kept, the same command continues")
        return Interrupted.exit_status
    except OSError as error:
        text = full_disk.in_words(error, Path(config.output_dir))
        say(err, f"[red]error[/] {escape(text)}; finished work is kept: launch again")
        return RunError.exit_status
    except SweepError as error:
        say(err, f"[red]error[/] {escape(str(error))}")
        return error.exit_status


def _act(points: Sequence[Point]) -> Outcome:
    check(points)
    config = points[0].config
    if config.action == "prepare":
        from sft_sweeps.launch import prepare  # tokenizers and NumPy, which planning does without

        configs = [point.config for point in points]
        return Outcome(prepare.run(configs, lambda: [request for _, request in requests(points)], console()))
    if config.action == "inspect":
        from sft_sweeps.launch import inspect  # the same

        return Outcome(inspect.run([request for _, request in requests(points)], config, console()))
    plan = planned(points)
    return show(plan, [point.config for point in points]) if config.action == "plan" else launch(plan, points)
