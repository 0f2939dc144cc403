"""The ranks of a stage meet wherever a port is free, and give up with a reason when one stays away."""

import json
import os
import socket
import time
from datetime import timedelta
from pathlib import Path

import pytest
from training import in_child, in_children

ENOUGH = 60.0  # seconds, for ranks that come


def meet(rank: int, processes: int, rendezvous: str, seconds: float, environment: dict[str, str]) -> str:
    """What a rank finds when it meets the others: the sum of all ranks' numbers, or why it gave up."""
    from sft_sweeps.errors import RunError
    from sft_sweeps.train import ranks

    os.environ.update(environment, RANK=str(rank), WORLD_SIZE=str(processes))
    ranks.TIMEOUT = timedelta(seconds=seconds)
    time.sleep(rank == 0)  # the others are there before it
    try:
        with ranks.process_group(processes, rendezvous):
            return str(ranks.sums([float(rank)])[0])
    except RunError as error:
        return f"RunError: {error}"


def all_meet(path: Path, processes: int, environment: dict[str, str]) -> dict[str, object]:
    """Let them meet; what it wrote for the others."""
    asked = [(rank, processes, str(path), ENOUGH, environment) for rank in range(processes)]
    assert in_children(meet, asked) == [str(float(sum(range(processes))))] * processes
    return dict(json.loads(path.read_text()))


def test_a_port_that_is_taken_does_not_matter(tmp_path: Path) -> None:
    """The folder's name is no address; MASTER_PORT is somebody else's."""
    folder = tmp_path / "code#1?+math [a]"
    folder.mkdir()
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        found = all_meet(folder / "meeting", 3, {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    assert found["host"] == "127.0.0.1"
    assert found["port"] not in (0, port)
    assert [path.name for path in folder.iterdir()] == ["meeting"]


def test_on_a_cluster_they_meet_at_the_node_of_rank_0(tmp_path: Path) -> None:
    assert all_meet(tmp_path / "meeting", 2, {"SLURMD_NODENAME": "127.0.0.9"})["host"] == "127.0.0.9"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_alone_gives_up_and_says_which_one_stayed_away(rank: int, tmp_path: Path) -> None:
    started = time.monotonic()
    answer = in_child(meet, rank, 2, str(tmp_path / "meeting"), 2.0, {})
    assert answer.startswith(f"RunError: rank {rank} gave up: not all of the 2 ranks met at {tmp_path}"), answer
    assert f"rank {1 - rank}" in answer
    assert time.monotonic() - started < ENOUGH


def test_where_an_earlier_attempt_listened_nobody_does(tmp_path: Path) -> None:
    """A file that is left over is no meeting: whoever gives its name again is told."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    (tmp_path / "meeting").write_text(json.dumps({"host": "127.0.0.1", "port": port}))
    answer = in_child(meet, 1, 2, str(tmp_path / "meeting"), 2.0, {})
    assert answer.startswith("RunError: rank 1 gave up"), answer
