"""The server that files are downloaded from."""

import threading
from collections.abc import Iterator

import pytest
from file_server import Server

from sft_sweeps.launch import download


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0, 0.0))
    made = Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
