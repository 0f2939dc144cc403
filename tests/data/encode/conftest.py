"""The chat templates that TRL ships, each in a folder that an encoder reads."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from chat_templates import folder_with

from sft_sweeps.data.encode import template_trial
from sft_sweeps.data.encode.encoder import Encoder


@pytest.fixture(scope="module")
def without_trial() -> Iterator[None]:
    """Whether a template ends is tried in a process of its own, which has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_trial, "check", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """By a template's name, a folder with it and a tokenizer that has its special tokens."""
    root = tmp_path_factory.mktemp("templates")
    return cache(lambda name: folder_with(name, root))


@pytest.fixture(scope="module")
def encoders(folders: Any) -> Any:
    return cache(lambda name: Encoder(folders(name), "chat_template", 100_000))
