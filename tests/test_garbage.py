"""Imports without the garbage collector."""

import gc
from collections.abc import Iterator

import pytest

from sft_sweeps.garbage import uncollected


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_inside_and_afterwards_all_is_as_before(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() is enabled


def test_so_it_is_where_an_import_fails() -> None:
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()


def test_what_was_made_inside_is_not_walked_through_again() -> None:
    with uncollected():
        made = [[] for _ in range(1000)]  # type: list[list[int]]
    assert gc.get_freeze_count() >= len(made)
    assert not any(one is made for one in gc.get_objects())
