"""Formats and templates of other distributions: recognised, read and written like the package's own."""

import os
import subprocess
import sys
from pathlib import Path

from common import ROOT

THEIRS = """
from sft_sweeps.data.example import DropError
from sft_sweeps.data.formats import Conversation, Format
from sft_sweeps.data.template import Template

def read(row):
    if row["lines"] == ["secret"]:
        raise DropError("secret")
    return Conversation([("human" if n % 2 == 0 else "gpt", line) for n, line in enumerate(row["lines"])])

FORMAT = Format(frozenset({"lines"}), read)
TEMPLATE = Template("Talk. ", before="Q: ", after=" A:")
"""
ENTRY_POINTS = """
[sft_sweeps.formats]
lines = theirs:FORMAT
[sft_sweeps.templates]
talk = theirs:TEMPLATE
"""
PROGRAM = """
import sys
from pathlib import Path
from sft_sweeps.data import formats, template
from sft_sweeps.data.read import read
for name in ("auto", "lines"):
    rows = read(Path(sys.argv[1]), "s", max_bad_fraction=0.5, format=name)
    print([example.rounds for example in rows.examples], rows.dropped)
print(formats.valid_names()[-1], template.valid_names()[-2:])
print(template.segments("talk", [("a", "b")]))
"""
ROWS = """
{"lines": ["a", "b", "c", "d"]}
{"lines": ["secret"]}
{"lines": ["e", "f"]}
{"other": 1}
"""


def test_those_of_another_distribution(tmp_path: Path) -> None:
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "theirs.py").write_text(THEIRS)
    (tmp_path / "rows.jsonl").write_text(ROWS)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "rows.jsonl")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    rounds = "[(('a', 'b'), ('c', 'd')), (('e', 'f'),)] {'secret': 1, 'unknown_fields': 1}"
    assert done.stdout.splitlines() == [
        rounds,
        rounds,
        "lines ('talk', 'chat_template')",
        "[('Talk. Q: a A:', ' b')]",
    ]
