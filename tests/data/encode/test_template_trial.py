"""A chat template that does not end is named before it runs in the process that encodes."""

import pytest

from sft_sweeps.data.encode import template_trial
from sft_sweeps.errors import RequestError

ENDLESS = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 10 ** 11 }}",
    "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "x" * (1 + (1 << 20)),
)
HARMLESS = ("{{ messages[0]['content'] }}", "{{ x.y.z }}", "{% if %}", "{{ raise_exception('no') }}", "")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_trial, "SECONDS", 1)


@pytest.mark.parametrize("text", ENDLESS)
def test_endless(text: str) -> None:
    with pytest.raises(RequestError, match=r"the chat template of the-model (does not end|writes more|has 1,048,577)"):
        template_trial.check(text, {}, "the-model")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_ends_is_judged_where_it_is_used(text: str) -> None:
    template_trial.check(text, {"bos_token": "<s>", "other": object()}, "the-model")
