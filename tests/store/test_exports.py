"""Export and import: the same report elsewhere, and nothing from an archive that is not what it should be."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_sweeps
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from outcomes import finish
from values import component, mixed, request

from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Executions
from sft_sweeps.files import archive
from sft_sweeps.files.archive import Member
from sft_sweeps.jobs.disposable import disposable
from sft_sweeps.jobs.job import missing
from sft_sweeps.jobs.needs import read_needs
from sft_sweeps.plan.build import build
from sft_sweeps.report.collect import collect, to_json
from sft_sweeps.store import claims, export_contents, imports
from sft_sweeps.store.exports import export_of
from sft_sweeps.store.store import FREED, RECORD, Store, write_record
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import PLAN, Sweep

PLAN_ = build([("output_dir=/home/me/store data=mini", request(mixed(), "sequential", every_stage=True))])
LONGER = build([("x", request((*mixed(), component("law", role="general")), "sequential", every_stage=True))])


def made(root: Path, name: str = "made") -> Sweep:
    """A sweep with answers, verdicts and curves, all of it done."""
    sweep = made_sweeps.made(root, PLAN_, lambda _: [number % 3 > 0 for number in range(9)], name)
    for subject in PLAN_.subjects:
        folder = Store(root).folder(subject)
        (folder / "identity.json").write_text(json.dumps(subject.payload))
        extra = {"digest": f"sha256:{subject.id}", "seconds": 12.5}
        write_record(folder, subject.payload, ["model/weights"], extra)
    return sweep


def exported(sweep: Sweep, target: Path) -> Path:
    one = export_of(sweep, Store(sweep.folder.parent.parent))
    archive.write(target, one.about, one.contents)
    return target


def imported(path: Path, root: Path) -> imports.Imported:
    return imports.take(path, export_contents.check(path), Store(root))


def results(sweep: Sweep, root: Path) -> dict[str, Any]:
    return to_json(collect(sweep.plan(), sweep.store(root), sweep.name, sweep.question))


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return made(tmp_path / "store")


@pytest.fixture
def packed(sweep: Sweep, tmp_path: Path) -> Path:
    return exported(sweep, tmp_path / "it.tar.zst")


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_same_results_elsewhere(sweep: Sweep, packed: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert len(imported(packed, there).new) == len(PLAN_.subjects) + 2 * len(PLAN_.scores)
    found = Sweep(there / "sweeps" / sweep.name)
    ours, theirs = results(sweep, tmp_path / "store"), results(found, there)
    assert theirs == ours
    assert theirs["missing"] == []
    assert len(theirs["runs"][0]["stages"]) == 3
    states = survey(found.plan(), Store(there)).states
    assert {states[one.id].state for one in (*PLAN_.scores, *PLAN_.generations)} == {"done"}
    for subject in PLAN_.subjects:
        assert states[subject.id].state == "weights gone"
        assert states[subject.id].why.startswith("imported without its weights on ")
        assert not (Store(there).folder(subject) / "model").exists()
    assert survey(found.plan(), Store(there)).records[PLAN_.stages[0].id]["seconds"] == 12.5
    assert missing(survey(found.plan(), Store(there)), Executions()) == []
    jobs = missing(survey(LONGER, Store(there)), Executions())
    assert [job.subject.id for job in jobs if job.kind == "train"] == [stage.id for stage in LONGER.stages]


def test_equal_results_make_equal_bytes(sweep: Sweep, packed: Path, tmp_path: Path) -> None:
    """Also after it was imported, and imported where it came from it changes nothing."""
    assert exported(sweep, tmp_path / "again").read_bytes() == packed.read_bytes()
    imported(packed, tmp_path / "there")
    there = Sweep(tmp_path / "there" / "sweeps" / sweep.name)
    assert exported(there, tmp_path / "back").read_bytes() == packed.read_bytes()
    before = files(tmp_path)
    for root in (tmp_path / "store", tmp_path / "there"):
        taken = imported(packed, root)
        assert (taken.new, taken.sweep_is_new) == ([], False)
    assert files(tmp_path) == before


def test_nothing_of_this_machine_is_in_it(sweep: Sweep, packed: Path, tmp_path: Path) -> None:
    content = json.loads((sweep.folder / PLAN).read_text())
    for model in content["spec"]["models"].values():
        model |= {"path": "/home/me/weights", "tokenizer_path": str(tmp_path / "tokenizer.json")}
    (sweep.folder / PLAN).write_text(json.dumps(content))
    text = zstandard.ZstdDecompressor().stream_reader(exported(sweep, tmp_path / "other").read_bytes()).read()
    assert b"/home/me" not in text
    assert str(tmp_path).encode() not in text
    names = [path for path in files(tmp_path / "store") if "/model/" in path]
    assert not any(name.encode() in text for name in names)
    assert packed.read_bytes() == (tmp_path / "other").read_bytes()


def test_what_is_not_done_is_left_out(sweep: Sweep, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (store.score(PLAN_.scores[0]) / RECORD).unlink()
    (store.folder(PLAN_.stages[2]) / RECORD).unlink()
    assert export_of(sweep, store).left_out == {"stage": 1, "score": 1}
    there = tmp_path / "there"
    imported(exported(sweep, tmp_path / "part"), there)
    found = Sweep(there / "sweeps" / sweep.name)
    assert results(found, there)["missing"] == results(sweep, tmp_path / "store")["missing"]


def test_what_lies_in_another_store_is_taken_from_there(sweep: Sweep, packed: Path, tmp_path: Path) -> None:
    near = tmp_path / "near"
    (near / "sweeps").mkdir(parents=True)
    shutil.copytree(sweep.folder, near / "sweeps" / sweep.name)
    one = export_of(Sweep(near / "sweeps" / sweep.name), Store(near, [tmp_path / "store"]))
    archive.write(tmp_path / "other", one.about, one.contents)
    assert (tmp_path / "other").read_bytes() == packed.read_bytes()


def test_a_damaged_file_is_not_exported(sweep: Sweep, tmp_path: Path) -> None:
    path = Store(tmp_path / "store").score(PLAN_.scores[0]) / "verdicts.jsonl"
    text = path.read_text()
    path.write_text(text.replace("true", "tru_"))
    with pytest.raises(RequestError, match=r"verdicts\.jsonl lost or changed.*doctor store"):
        export_of(sweep, Store(tmp_path / "store"))


def refused(path: Path, root: Path, match: str) -> None:
    """With one line, and nothing is written."""
    before = files(root) if root.exists() else None
    with pytest.raises(RequestError, match=match) as error:
        imported(path, root)
    assert "\n" not in str(error.value)
    assert (files(root) if root.exists() else None) == before


def plain(path: Path) -> bytes:
    return bytes(zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read())


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_half_or_damaged_copy_is_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "half"
    if not folder.exists():
        exported(made(folder / "store"), folder / "it.tar.zst")
    whole = (folder / "it.tar.zst").read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    there = folder / "there"
    broken = folder / "broken"
    if data.draw(st.booleans()):
        broken.write_bytes(whole[:cut])
        refused(broken, there, "is refused")
    else:  # a byte changed inside what is packed
        text = bytearray(plain(folder / "it.tar.zst"))
        at = data.draw(st.integers(0, len(text) - 1) | st.integers(0, 6 * tarfile.BLOCKSIZE))  # often in the list
        text[at] ^= 1 << data.draw(st.integers(0, 7))
        broken.write_bytes(zstandard.compress(bytes(text)))
        refused(broken, there, "is refused")


def forged(target: Path, packed: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """An archive like the one given but for a change of its list or its contents, its sums right."""
    with archive.opened(packed) as opened:
        about = dict(opened.about)
        contents = {member.path: b"".join(blocks) for member, blocks in opened.contents()}
    change(about, contents)
    made_of = {archive.member_of(path, content): content for path, content in contents.items()}
    archive.write(target, {key: value for key, value in about.items() if key != "files"}, made_of)
    return target


STAGE = f"stages/x-{PLAN_.stages[0].id}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../../etc/passwd", "leads out"),
        ("/etc/passwd", "no path inside"),
        ("stages/./x", "leads out"),
        ("stages//x", "leads out"),
        ("stages\\x", "no path inside"),
        ("C:/x", "no path inside"),
        ("stages/\x1b[2J/x", "no name of a file"),
        ("sweeps/other/plan.json", "nothing that its plan names"),
        ("sweeps/other/code/x.py", "nothing that its plan names"),
        (f"{STAGE}/model/model.safetensors", "nothing that its plan names"),
        (f"{STAGE}/claim-0001.json", "nothing that its plan names"),
        (f"{STAGE}/freed.json", "nothing that its plan names"),
        (f"{STAGE}/scores/.x-{PLAN_.scores[0].id}/record.json", "nothing that its plan names"),
        (f"{STAGE}/generations/x-{PLAN_.scores[0].id}/record.json", "nothing that its plan names"),
        (f"stages/x-{'0' * 12}/record.json", "nothing that its plan names"),
        (f"models/x-{PLAN_.stages[0].id}/record.json", "nothing that its plan names"),
        (f"{STAGE}/data.json", "twice"),
        ("x" * 300, "no name of a file"),
    ],
)
def test_a_hostile_name(name: str, said: str, packed: Path, tmp_path: Path) -> None:
    bad = forged(tmp_path / "bad", packed, lambda _, contents: contents.update({name: b"x"}))
    refused(bad, tmp_path / "there", f"is refused: .*{said}")
    assert not (tmp_path / "there").exists()


def record_name(contents: dict[str, bytes]) -> str:
    return next(name for name in contents if name.startswith("stages/") and name.count("/") == 2 and RECORD in name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda about, _: about.update(version=2, made_by="9.9"),
            r"form 2, made by sft-sweeps 9\.9; this one reads form 1",
        ),
        (lambda about, _: about.update(format="other"), "no export of sft-sweeps"),
        (lambda about, _: about.update(sweep="../x"), "does not begin with the plan"),
        (lambda _, contents: contents.pop(next(iter(contents))), "does not begin with the plan"),
        (lambda _, contents: contents.update({next(iter(contents)): b"{}"}), "its plan cannot be read"),
        (lambda _, contents: contents.update({next(iter(contents)): b"[" * 10**5}), "its plan cannot be read"),
        (lambda _, contents: contents.update({record_name(contents): b"{}"}), "no record of what the plan says"),
        (lambda _, contents: contents.pop(record_name(contents)), "no record of what the plan says"),
    ],
)
def test_a_foreign_content(change: Any, said: str, packed: Path, tmp_path: Path) -> None:
    refused(forged(tmp_path / "bad", packed, change), tmp_path / "there", said)


@pytest.mark.parametrize(
    "kind", ["link", "device", "folder", "more", "foreign tar", "no tar", "text", "gzip", "missing"]
)
def test_what_is_no_file_of_ours(kind: str, packed: Path, tmp_path: Path) -> None:
    bad, text = tmp_path / "bad", plain(packed)
    with archive.opened(packed) as opened:
        size = len(archive._list_text(opened.about))
        start = len(archive._header(Member(archive.LIST, 0, ""))) + size + archive._filling(size)
    header = tarfile.TarInfo("stages/x")
    types = {"link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE, "folder": tarfile.DIRTYPE}
    header.type = types.get(kind, tarfile.REGTYPE)
    header.linkname = "/etc/passwd"
    changed = text[:start] + header.tobuf(tarfile.PAX_FORMAT) + text[start:]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as other:
        other.addfile(tarfile.TarInfo("a"))
    given = {
        "more": text + b"more" * 8000,
        "foreign tar": stream.getvalue(),
        "no tar": b"x" * 4000,
    }.get(kind, changed)
    said = {**{name: f"a {name}" for name in types}, "more": "goes on behind"}.get(kind, "no export")
    if kind == "text":
        bad.write_text("hello")
    elif kind == "gzip":
        bad.write_bytes(b"\x1f\x8b" + b"x" * 100)
    elif kind != "missing":
        bad.write_bytes(zstandard.compress(given))
    refused(bad, tmp_path / "there", "there is no file" if kind == "missing" else f"is refused: .*{said}")


def test_bombs(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list without end, a huge file that is said to be small, a file larger than the disk, a header of gigabytes."""
    monkeypatch.setattr(archive, "MOST_FILES", 5)
    refused(packed, tmp_path / "there", "more than 5")
    monkeypatch.undo()
    header = tarfile.TarInfo(archive.LIST)
    header.size = 1 << 40
    (tmp_path / "bad").write_bytes(zstandard.compress(header.tobuf() + b"\0" * (1 << 20)))
    refused(tmp_path / "bad", tmp_path / "there", "no export")
    long = tarfile.TarInfo("x")
    long.size, long.type = 1 << 33, tarfile.XHDTYPE
    (tmp_path / "bad").write_bytes(zstandard.compress(long.tobuf() + b"\0" * (1 << 20)))
    refused(tmp_path / "bad", tmp_path / "there", "no export")
    monkeypatch.setattr(imports, "ROOM", 1e15)
    refused(packed, tmp_path / "there", "unpacks to .* TB, and .* free; make room .* choose another: --output-dir")


def test_what_contradicts_is_refused_by_name(sweep: Sweep, packed: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    stage, score = PLAN_.stages[1], PLAN_.scores[0]
    folder = finish(Store(there), stage, digest="sha256:other")
    refused(packed, there, f"{stage.label} \\({stage.id}\\) is here with another result.*--output-dir FOLDER")
    shutil.rmtree(folder)
    assert claims.take(_made(folder), "mine")
    refused(packed, there, f"{stage.id}\\) is being made here")
    shutil.rmtree(folder)
    (_made(folder) / "metrics.jsonl").write_text("{}\n")
    refused(packed, there, f"{stage.id}\\) is begun here and not finished")
    shutil.rmtree(folder)
    made_sweeps.score(Store(there), score, [True] * 9)
    refused(packed, there, f"the answers of .*{score.generation.id}|the score of .*{score.id}")
    shutil.rmtree(there)
    imported(packed, there)
    plan = there / "sweeps" / sweep.name / PLAN
    plan.write_text(plan.read_text().replace('"question": "', '"question": "not '))
    refused(packed, there, "is here with another plan")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_what_is_here_already_stays(sweep: Sweep, packed: Path, tmp_path: Path) -> None:
    """With its weights; what is lacking is added beside it."""
    there = tmp_path / "there"
    store = Store(there)
    stage = PLAN_.stages[0]
    folder = finish(store, stage, digest=f"sha256:{stage.id}")
    before = files(folder)
    taken = imported(packed, there)
    assert [unit.item.id for unit in taken.kept] == [stage.id]
    assert before.items() <= files(folder).items()
    assert not (folder / FREED).exists()
    assert results(Sweep(there / "sweeps" / sweep.name), there) == results(sweep, tmp_path / "store")


class KilledError(BaseException):
    """The process ends here."""


def test_killed_at_any_point_it_is_imported_again(sweep: Sweep, packed: Path, tmp_path: Path) -> None:
    """A sweep that is there is there whole."""
    there, whole, points = tmp_path / "there", results(sweep, tmp_path / "store"), 0
    for after in range(0, 10_000, 7):
        shutil.rmtree(there, ignore_errors=True)
        left = [after]

        def dying(*arguments: Any, real: Callable[..., Any] = os.replace, left: list[int] = left, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return real(*arguments, **named)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "replace", dying)
            try:
                imported(packed, there)
                killed = False
            except KilledError:
                killed = True
        found = Sweep(there / "sweeps" / sweep.name)
        assert found.readable != killed
        imported(packed, there)
        assert results(found, there) == whole
        assert not list(there.glob(".*"))
        points += killed
        if not killed:
            break
    assert points > 4


def test_gc_finds_nothing_in_what_was_imported(packed: Path, tmp_path: Path) -> None:
    imported(packed, tmp_path / "there")
    assert disposable(read_needs(Store(tmp_path / "there")), policy="scores")[0] == []
