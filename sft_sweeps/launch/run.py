"""What `launch.py` does with the points of a sweep: check all of them, plan, then print the plan or launch it."""

from collections.abc import Sequence

from rich.markup import escape

from sft_sweeps.config.grid import Point
from sft_sweeps.errors import Interrupted, RunError, SweepError
from sft_sweeps.launch.launch import launch
from sft_sweeps.launch.points import check, check_columns, requests
from sft_sweeps.launch.show import show
from sft_sweeps.plan import build as planning
from sft_sweeps.terminal import console, say


def run(points: Sequence[Point]) -> int:
    """Exit status of a launch; errors are printed as their message alone."""
    try:
        check(points)
        config = points[0].config
        if config.action == "prepare":
            from sft_sweeps.launch import prepare  # what only this needs

            return prepare.run([point.config for point in points], lambda: [r for _, r in requests(points)], console())
        asked = requests(points)
        if config.action == "inspect":
            from sft_sweeps.launch import inspect  # what only this needs

            return inspect.run([request for _, request in asked], config, console())
        plan = planning.build(asked)
        check_columns(plan)
        if config.action == "plan":
            return show(plan, config)
        return launch(plan, points)
    except KeyboardInterrupt:
        say(console(stderr=True), "interrupted before anything was started")
        return Interrupted.exit_status
    except OSError as error:
        say(console(stderr=True), f"[red]error[/] {escape(str(error))}; what is done stays done: launch again")
        return RunError.exit_status
    except SweepError as error:
        say(console(stderr=True), f"[red]error[/] {escape(str(error))}")
        return error.exit_status
