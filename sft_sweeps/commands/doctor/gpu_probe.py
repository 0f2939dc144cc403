"""What torch can do with this machine's GPUs. Sent to a Python as text; prints JSON."""

import importlib
import json
from typing import Any

torch: Any = importlib.import_module("torch")  # not where this package is looked at


def right(device: int) -> bool:
    """Whether a GPU multiplies as the CPU does, to what bf16 holds."""
    one = torch.linspace(-1, 1, 512 * 512).reshape(512, 512)
    found = (one.to(device, torch.bfloat16) @ one.to(device, torch.bfloat16)).float().cpu()
    expected = one.bfloat16().double() @ one.bfloat16().double()
    return bool((found - expected).abs().max() <= 0.02 * expected.abs().max())


def main() -> dict[str, object]:
    torch.cuda.init()  # says why there are none
    count = torch.cuda.device_count()
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    return {
        "count": count,
        "wrong": [device for device in range(count) if not right(device)],
        "apart": [f"{a}-{b}" for a, b in pairs if not torch.cuda.can_device_access_peer(a, b)],
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
    }


if __name__ == "__main__":
    print(json.dumps(main()))
