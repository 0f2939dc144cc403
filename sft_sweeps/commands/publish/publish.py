"""The files of a publication: a model's folder, or a sweep's with one for each of its runs and an index."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sft_sweeps import __version__
from sft_sweeps.commands.publish import evidence, folder, hub, results, weights
from sft_sweeps.commands.publish.card import HERE, card
from sft_sweeps.commands.publish.chosen import Choice, Chosen
from sft_sweeps.commands.publish.folder import Content, Kept
from sft_sweeps.commands.publish.markdown import link, render, table
from sft_sweeps.errors import RequestError
from sft_sweeps.report.page import text
from sft_sweeps.terminal import counted

CARD = "README.md"
EVIDENCE = ("identity.json", "data.json")  # of each stage: what its id is the hash of, and the ids of its examples
LONGEST = 60  # characters of a folder's name


@dataclass(frozen=True)
class How:
    """`link`: weights as hard links. `repository`: of the hub, "" for none."""

    link: bool = True
    repository: str = ""
    public: bool = False


def one(chosen: Chosen, target: Path, how: How) -> dict[str, Any]:
    """One model; RequestError where it cannot be published."""
    return {"published": [_model(chosen, target, how)], "left_out": []}


def all_of(choice: Choice, target: Path, how: How) -> dict[str, Any]:
    """The models of a sweep's runs, each in a folder, and an index; what cannot be published is left out and said."""
    assert choice.sweep
    subject = {"kind": "sweep", "id": choice.sweep.name, "label": choice.sweep.name}
    folder.claim(target, subject)
    published, left_out = [], []
    for chosen, name in zip(choice.models, _names(choice.models), strict=True):
        of_run = replace(how, repository=_repository(how.repository, name))
        try:
            published.append(_model(chosen, target / name, of_run))
        except RequestError as error:
            left_out.append({"id": chosen.stage.id, "label": chosen.label, "why": str(error)})
    folder.write(target, {CARD: _index(choice, published, left_out)}, subject)
    return {"published": published, "left_out": left_out}


def _model(chosen: Chosen, target: Path, how: How) -> dict[str, Any]:
    """Make a model's folder, and its repository."""
    subject = {"kind": "model", "id": chosen.stage.id, "label": chosen.label}
    folder.check(target, subject)
    checksums = evidence.model_files(chosen)
    lines, missing = evidence.score_lines(chosen)
    with weights.files(chosen, checksums) as of_model:
        files = of_model | _evidence(chosen) | results.files(lines)
        files[CARD] = card(chosen, lines, missing, how.repository or HERE)
        linked = folder.write(target, files, subject, link=how.link)
    return {
        **{key: subject[key] for key in ("id", "label")},
        "folder": str(target),
        "bytes": sum(path.stat().st_size for path in target.rglob("*") if path.is_file()),
        "linked_bytes": linked,
        "scores": {text.title(line.observed.benchmark): line.scored.text() for line in lines},
        "repository": hub.push(target, how.repository, public=how.public) if how.repository else "",
    }


def _evidence(chosen: Chosen) -> dict[str, Content]:
    """What each stage of its chain is and was trained on, as far as it is still there."""
    files: dict[str, Content] = {}
    for number, stage in enumerate(chosen.stage.chain):
        of_stage = evidence.stage_folder(chosen, number)
        for name in EVIDENCE:
            if (of_stage / name).is_file():
                files[f"training/{number + 1}-{stage.id}/{name}"] = Kept(of_stage / name)
    return files


def _names(models: Sequence[Chosen]) -> list[str]:
    """A folder's name for each, which is no other's."""
    short = [re.sub(r"[^A-Za-z0-9_.]+", "-", one.label.replace("/", "_")).strip("-.")[:LONGEST] for one in models]
    return [
        name if name and short.count(name) == 1 else f"{name}-{one.stage.id}".lstrip("-")
        for name, one in zip(short, models, strict=True)
    ]


def _repository(repository: str, name: str) -> str:
    made = f"{repository}-{name}" if repository else ""
    if made:
        hub.check_name(made)
    return made


def _index(choice: Choice, published: Sequence[Mapping[str, Any]], left_out: Sequence[Any]) -> str:
    """What there is, and how it scored."""
    assert choice.sweep
    benchmarks = list(dict.fromkeys(name for one in published for name in one["scores"]))
    pushed = ["repository"] if any(one["repository"] for one in published) else []
    rows = []
    for one in published:
        name = Path(one["folder"]).name
        scores = [one["scores"].get(benchmark, "") for benchmark in benchmarks]
        rows.append([one["label"], link(name, f"{name}/{CARD}"), *scores, *(one[key] for key in pushed)])
    context = {
        "name": choice.sweep.name,
        "question": choice.sweep.question,
        "version": __version__,
        "count": counted(len(published), "model"),
        "table": table(["model", "folder", *benchmarks, *pushed], rows),
        "left_out": left_out,
    }
    return render("index.md.j2", context)
