"""One style for every command there is: whoever adds one that lacks something of it sees it here."""

import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import goldens
import pytest
from common import ROOT
from real_outputs import texts

from sft_sweeps.commands import command, manual
from sft_sweeps.commands.command import Command
from sft_sweeps.config import site

PAGE = ROOT / "docs" / "command_line.md"
BEGIN = "## The commands\n"
FRAMES = re.compile("[\u2500-\u257f]")
COMMANDS = command.own_commands()
NAMED = pytest.mark.parametrize("one", COMMANDS.values(), ids=COMMANDS.keys())


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Those that read a whole line: of a command with commands below it, theirs."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for one in action.choices.values():
            yield from parsers(one)
    if not below:
        yield parser


@NAMED
def test_a_line_of_help_for_the_overview(one: Command) -> None:
    longest = max(map(len, COMMANDS))
    assert 10 < len(f"  {one.name:<{longest}}  {one.help}") <= 100
    assert not one.help.endswith(".")
    assert one.help[0].islower()
    assert one.topic in command.TOPICS.keys() - {"more"}, "a topic of its own: where --help lists it"


@NAMED
def test_examples_that_the_command_takes(one: Command) -> None:
    assert one.examples, "lines to type, for its manual page"
    for line in one.examples:
        program, name, *words = shlex.split(line, comments=True)
        assert (program, name) == ("sft-sweeps", one.name)
        if not one.reads_itself and "--help" not in words:
            manual.parser_of(one).parse_args(words)  # RequestError where it does not


@NAMED
def test_json(one: Command) -> None:
    assert all("--json" in parser.format_help() for parser in parsers(manual.parser_of(one)))


@NAMED
def test_a_store_is_named_in_one_way(one: Command) -> None:
    """Whoever asks for a sweep or a stage looks into a store."""
    for parser in parsers(manual.parser_of(one)):
        asks = {str(action.metavar) for action in parser._actions if not action.option_strings}
        if any(re.search("SWEEP|STAGE|RUN", name) for name in asks):
            option = next(action for action in parser._actions if "--output-dir" in action.option_strings)
            assert (option.dest, option.default) == ("output_dir", site.output_dir())


def test_tables_have_no_frames_in_a_pipe(tmp_path: Path) -> None:
    assert {name: text for name, text in texts(tmp_path) if FRAMES.search(text)} == {}


def test_the_docs_have_every_manual_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make goldens` writes what stands below the heading."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(site, "local_file", lambda: None)
    pages = [f"```text\n{manual.overview()}```\n"]
    pages += [f"### {name}\n\n```text\n{manual.page(COMMANDS[name])}```\n" for name in sorted(COMMANDS)]
    head = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    goldens.compare(PAGE, f"{head}{BEGIN}\n" + "\n".join(pages))


def test_help_comes_at_once() -> None:
    """0.07 s for all commands and at most 0.3 s for one, where nothing else runs; here a quarter of a second more."""
    for line, most in ((["--help"], 0.3), (["status", "--help"], 0.5), (["launch", "--help"], 0.5)):
        assert _seconds(line) < most, line


def _seconds(line: list[str]) -> float:
    """Of CPU, the median of three: other processes must not matter."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    taken = []
    for _ in range(3):
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "sft_sweeps.commands.main", *line], env=environment, capture_output=True, check=True
        )
        after = os.times()
        taken.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return statistics.median(taken)
