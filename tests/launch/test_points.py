"""All points of a sweep are checked together, before anything is planned."""

import pytest
from common import Points

from sft_sweeps.errors import RequestError
from sft_sweeps.launch.points import check, requests


def test_problems_of_all_points_come_together(points: Points) -> None:
    """What the configuration's fields know to be wrong, and a launcher that there is not."""
    swept = points("model=mini", "data=mini", "train=mini", "train.epochs=0,1,2", "cluster.name=slurn")
    with pytest.raises(RequestError) as caught:
        check(swept)
    epochs, _, name, where = str(caught.value).splitlines()
    assert epochs.startswith("train.epochs=0")
    assert name == "cluster.name=slurn is unknown; valid: local, slurm, auto; did you mean cluster.name=slurm?"
    assert where.strip().startswith("(in 3 of 3 points")


def test_what_belongs_to_the_launch_cannot_be_swept(points: Points) -> None:
    swept = points("model=mini", "data=mini", "train=mini", "cluster.jobs=1,2")
    with pytest.raises(RequestError, match="cluster cannot be swept: it belongs to the whole launch"):
        check(swept)


def test_requests_keep_the_points_names_and_order(points: Points) -> None:
    swept = points("model=mini", "data=mini", "train=mini", "train.seed=2,0,1")
    resolved = requests(swept)
    assert [name for name, _ in resolved] == [point.name for point in swept]
    assert [request.recipe.seed for _, request in resolved] == [2, 0, 1]
