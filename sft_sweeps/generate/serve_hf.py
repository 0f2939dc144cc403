"""The reference engine in a replica's process."""

import sys
from collections.abc import Callable
from typing import Any

Send = Callable[[dict[str, Any]], None]


class Served:
    """HFEngine, with the packages of the process that started this one."""

    def __init__(self, settings: dict[str, Any]) -> None:
        sys.path[:] = settings["path"]
        import torch

        from sft_sweeps.generate.hf import HFEngine
        from sft_sweeps.spec.evaluation import Engine

        torch.set_num_threads(settings["threads"])
        self.engine = HFEngine(settings["folder"], Engine("hf", settings["version"], settings["dtype"]))
        self.version = settings["version"]  # which the engine has checked

    def generate(self, asked: dict[str, Any], send: Send) -> None:
        self.engine.generate(
            _prompts(asked["prompts"]),
            asked["batch_size"],
            keep=lambda index, answer: send({"index": index, "ids": answer.ids, "finished": answer.finished}),
        )

    def self_check(self, asked: dict[str, Any], send: Send) -> None:
        send({"index": 0, "check": self.engine.self_check(_prompts(asked["prompts"]), asked["batch_size"])})

    def losses(self, asked: dict[str, Any], send: Send) -> None:
        import numpy as np

        from sft_sweeps.data.encode.encoder import Encoded

        for index, (ids, supervised) in enumerate(asked["examples"]):
            example = Encoded("", "", np.array(ids, np.int32), np.array(supervised, np.bool_))
            send({"index": index, "loss": self.engine.losses([example])[0]})


def _prompts(fields: dict[str, Any]) -> Any:
    from sft_sweeps.generate.engine import Prompts, Sampling

    return Prompts(**fields | {"sampling": [Sampling(*each) for each in fields["sampling"]]})
