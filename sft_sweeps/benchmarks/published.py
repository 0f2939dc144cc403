"""Benchmarks that come as a file: what their settings may say, which exact file that is, and its rows.

The file is the pinned one in the data folder, the user's own, or a package's. Whichever it is, its rows are only given
out if its content is the planned one.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks.settings import BenchmarkConfig, EvaluateConfig, EvaluatedPoint
from sft_sweeps.errors import RequestError
from sft_sweeps.files import json_files, packing
from sft_sweeps.files.content import content_pin
from sft_sweeps.ranges import NumberRange
from sft_sweeps.spec.evaluation import Benchmark

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class PinnedFile:
    """A published file: where it belongs, what it must be, and the address that it is fetched from ("": none)."""

    name: str
    path: Path
    content: str
    url: str


def files(name: str, settings: BenchmarkConfig, folder: Path) -> Iterator[PinnedFile]:
    """The published files of a benchmark, in the data folder; not those in whose place the user has files."""
    if settings.file and not settings.path:
        yield PinnedFile(f"the items of {name}", (folder / settings.file).absolute(), settings.content, settings.url)


def problems(name: str, settings: BenchmarkConfig, evaluate: EvaluateConfig) -> Iterator[str]:
    """What the fields of a published benchmark's settings do not check by themselves."""
    del name, settings
    yield from NumberRange(0)("evaluate.examples", evaluate.examples)


def resolve(name: str, settings: BenchmarkConfig, point: EvaluatedPoint) -> Iterator[Benchmark]:
    """The benchmark, whole or its first `evaluate.examples` items."""
    path, content, total = _file(name, settings, point.folder)
    yield Benchmark(
        name=name,
        content=content,
        examples=min(point.evaluate.examples or total, total),
        template=point.template,
        max_new_tokens=settings.max_new_tokens,
        seed=point.evaluate.seed,
        ability=settings.ability,
        style=settings.style,
        samples=settings.samples,
        temperature=settings.temperature,
        total=total,
        path=path,
    )


def _file(name: str, settings: BenchmarkConfig, folder: Path) -> tuple[str, str, int]:
    """(path, content, items) of the pinned file, or of a file of the user's own by its content."""
    if not settings.path and not settings.content:
        raise RequestError(f"evaluate.{name} names no file; set evaluate.{name}.path=FILE")
    if settings.path:
        path = Path(settings.path)
        if not path.is_file():
            raise RequestError(f"evaluate: there is no benchmark file {path}")
        content, rows = content_pin(path, settings.content, f"evaluate.{name}.path={path}")
        return str(path.absolute()), content, settings.rows if content == settings.content else rows
    path_in_folder = str((folder / settings.file).absolute()) if settings.file else ""
    return path_in_folder, settings.content, settings.rows


def rows(benchmark: Benchmark, packaged: Callable[[], bytes] | None = None) -> Rows:
    """The rows of the benchmark's file, or of the package's where it has no path; RequestError for another content."""
    key = f"evaluate.{benchmark.name}"
    if not benchmark.path:
        if packaged is None:
            raise RequestError(f"{key} has no file; set {key}.path=FILE")
        text = packaged()
        content = f"sha256:{hashlib.sha256(text).hexdigest()}"
    else:
        path = Path(benchmark.path)
        try:
            content, _ = content_pin(path, benchmark.content, f"{key}: {path}")
            with packing.opened(path) as file:
                text = file.read()
        except OSError as error:
            raise RequestError(
                f"{key}: {path} cannot be read ({error.strerror}). Place the file there, or set {key}.path=FILE."
            ) from error
    if content != benchmark.content:
        raise RequestError(
            f"{key}: {benchmark.path or 'the package'} is not the planned {benchmark.content} but {content}"
        )
    return parse(text, benchmark.path or benchmark.name)


def parse(text: bytes, name: str) -> Rows:
    """The rows of JSON lines in UTF-8; RequestError names the line that is not a JSON object."""
    parsed = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json_files.parse(line.decode("utf-8"), strict=True)
        except ValueError as error:
            raise RequestError(
                f"line {number} of {name} is not JSON ({error}); write one JSON object on each line"
            ) from error
        if not isinstance(row, dict):
            raise RequestError(f"line {number} of {name} is not a JSON object; write one JSON object on each line")
        parsed.append(row)
    return parsed
