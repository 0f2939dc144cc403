"""One side of one round, in the process that peer.py starts: a function of a peer's module, its request and answer.

python -m bench.peers.side PEER FUNCTION FILE
"""

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    peer, function, file = sys.argv[1:]
    request = json.loads(Path(file).read_text())
    found = getattr(importlib.import_module(f"bench.peers.{peer}"), function)(**request)
    Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
