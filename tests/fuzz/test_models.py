"""Whatever came with a model, it is read, or refused in one message: config.json, weights, tokenizer, chat template."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import tiny
from chat_templates import TEMPLATES, folder_with
from fuzzing import answer, hunt, wrong
from mutations import BYTES, CHANGES, reworded, spoilt

from sft_sweeps.config import resolve_model
from sft_sweeps.config.train_schema import ModelConfig
from sft_sweeps.data.encode import template_trial
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.encode.template_renderer import Renderer
from sft_sweeps.data.example import Example
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.models import folder as model_folder
from sft_sweeps.models import weights
from sft_sweeps.models.architectures import read_shape
from sft_sweeps.models.folder import Examined
from sft_sweeps.models.pins import tokenizer_pin, weights_pin, why_provisional
from sft_sweeps.models.tokenizer import CHAT

pytestmark = pytest.mark.fuzz

TEXTS = (("Tom has 3 apples.", "3 and 4 is 7."), ("def f(x):", "\n    return x\n"), ("</s>", " <s> 数学 "))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models") / "tiny")


def test_models(made: Path, tmp_path: Path) -> None:
    """Planned with, checked before a job, and pinned."""
    folder = shutil.copytree(made, tmp_path / "one")
    whole = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    shape = read_shape(json.loads(whole["config.json"]))

    def case(chance: Random) -> Iterator[str]:
        name = chance.choice(("config.json", "config.json", "model.safetensors", *whole))
        (folder / name).write_bytes(spoilt(whole[name], chance, BYTES if name.endswith("safetensors") else CHANGES))
        if chance.random() < 0.1:
            index = json.dumps({"weight_map": dict.fromkeys(("a", "b"), "model.safetensors")}).encode()
            (folder / weights.INDEX).write_bytes(spoilt(index, chance))
        try:
            for text in model_folder.problems(folder, shape, "", lambda _: Examined()):
                yield from () if text.strip() else ["a problem without a word"]
            with contextlib.suppress(RunError):
                model_folder.loadable(folder)
            weights_pin(folder)
            tokenizer_pin(str(folder))
            why_provisional(str(folder))
            with contextlib.suppress(RequestError):
                resolve_model._shape_of.cache_clear()
                resolve_model.with_own_shape(ModelConfig(folder=str(folder)))
        finally:
            (folder / name).write_bytes(whole[name])
            (folder / weights.INDEX).unlink(missing_ok=True)

    hunt(case)


def test_planning_with_a_spoilt_model(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(made, tmp_path / "one")
    files = ("config.json", "tokenizer.json", "tokenizer_config.json")

    def case(chance: Random) -> Iterator[str]:
        name = chance.choice(files)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(spoilt(content, chance))
        typed = [f"model.folder={folder}", "data=mini_general", "train=mini", "evaluate=none"]
        try:
            what = f"{name} {(folder / name).read_bytes()[:300]!r}"
            yield from wrong(answer(["model=hf", *typed], tmp_path / "store"), what)
        finally:
            (folder / name).write_bytes(content)

    hunt(case, 0.005)  # transformers is asked, in a process of its own: seconds


def _encodes(folder: Path, template: str) -> Iterator[str]:
    """What is wrong with what an encoder of a folder gives: each token is one, what is learnt is of the example."""
    encoder = Encoder(folder, template, 200)
    examples = [Example("t/0", TEXTS[:1]), Example("t/1", TEXTS), Example("t/2", TEXTS[:2], system="Be brief.")]
    for example in examples:
        if encoder.refusal(example) or (example.system and not encoder.takes_system):
            continue
        encoded = next(iter(encoder.encoded([example])))
        if len(encoded.input_ids) != len(encoded.supervised) or len(encoded.input_ids) > 200:
            yield f"{len(encoded.input_ids)} tokens, {len(encoded.supervised)} marks"
        if len(encoded.input_ids) and encoded.input_ids.min() < 0:
            yield "a token that is none"
        if not encoded.truncated and not encoded.reason and not np.any(encoded.supervised):
            yield "nothing is learnt, without a reason"


def test_tokenizers(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "one")
    for path in folder.glob("*.safetensors"):
        path.unlink()
    whole = {path.name: path.read_bytes() for path in folder.glob("tokenizer*.json")}

    def case(chance: Random) -> Iterator[str]:
        name = chance.choice(sorted(whole))
        (folder / name).write_bytes(spoilt(whole[name], chance))
        try:
            with contextlib.suppress(RequestError):
                yield from _encodes(folder, chance.choice(("vicuna_v1.1", "vicuna_bare")))
        finally:
            (folder / name).write_bytes(whole[name])

    hunt(case, 0.5)


CHATML = """{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}
{{- '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"""
WORDS = (
    *("{{", "}}", "{%", "%}", "{%-", "-%}", "for", "in", "if", "else", "endif", "endfor", "set", "namespace", "loop"),
    *("message", "messages", "content", "role", "[0]", "[-1]", ".", "|", "trim", "tojson", "length", "range(9)", "+"),
    *("raise_exception('x')", "strftime_now('%d')", "bos_token", "eos_token", "'", '"', "is", "none", "defined", "not"),
    *(
        "{% generation %}",
        "{% endgeneration %}",
        "{% break %}",
        "{#",
        "#}",
        "{% raw %}",
        "1/0",
        "''.__class__",
        "\ue000",
    ),
    *(
        "random",
        "lipsum()",
        "macro",
        "call",
        "recursive",
        "~",
        "<|im_end|>",
        "<|im_start|>",
        "assistant",
        "user",
        "tools",
    ),
)
# Each would fill the memory or never end; only the trial, in a process with limits, may meet it.
ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'x' * 10 ** 10 }}",
    "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{{ range(9999) | list * 99999 }}",
    "{{ 9 ** (9 ** 9) }}",
)


def _templates(root: Path) -> list[Path]:
    """Folders with chat templates: those that TRL ships, where it is installed, and a plain one."""
    names = [name for name in sorted(TEMPLATES) if TEMPLATES[name].stat().st_size < 6000][:12]
    folders = [folder_with(name, root) for name in names]
    plain = shutil.copytree(folders[0], root / "chatml") if folders else root / "chatml"
    (plain / "chat_template.jinja").write_text(CHATML)
    return [*folders, plain]


def test_chat_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Followed exactly, or refused; whether one ends is tried beside."""
    if not TEMPLATES:
        pytest.skip("trl, whose chat templates are spoilt, is not installed")
    monkeypatch.setattr(template_trial, "check", lambda *_: None)
    folders = _templates(tmp_path)
    whole = {folder: (folder / "chat_template.jinja").read_text() for folder in folders}

    def case(chance: Random) -> Iterator[str]:
        folder = chance.choice(folders)
        text = whole[folder]
        for _ in range(chance.randint(1, 2)):
            text = reworded(text, chance, WORDS)
        (folder / "chat_template.jinja").write_text(text)
        with contextlib.suppress(RequestError):
            yield from _encodes(folder, CHAT)

    hunt(case, 0.25)


def test_templates_that_never_end() -> None:
    """The limits of the trial hold wherever in a template it stands."""

    def case(chance: Random) -> Iterator[str]:
        endless = chance.choice(ENDLESS)
        at = chance.choice((0, len(CHATML)))
        text = CHATML[:at] + endless + CHATML[at:]
        try:
            template_trial.check(text, {}, "x")
            Renderer(text, {})([{"role": "user", "content": "x"}])
            yield f"not refused: {endless}"
        except (RequestError, ValueError):
            return

    hunt(case, 0.002)
