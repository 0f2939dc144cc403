"""An endpoint that speaks OpenAI's chat protocol, and may answer anything: within a time, a size, and without the key.

The key comes from the environment and goes nowhere but into the header. Whatever comes back is searched for it, as it
is and as programs write it out, before anybody sees or keeps it.
"""

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from sft_sweeps.errors import RunError, visible
from sft_sweeps.files.json_files import parse

MOST_BYTES = 8 << 20  # of a reply: one of 2,048 tokens has some 10,000
SHORTEST_SECRET = 8  # characters: local servers take "none" or "EMPTY" for a key, which replies may hold, too
SHOWN = 200  # characters of a reply in a message


class EndpointError(Exception):
    """There was no whole reply in time; the text holds no key."""


@dataclass(frozen=True)
class Reply:
    """A status with the text that came with it, and when the endpoint says to ask again."""

    status: int
    text: str
    after: str = ""

    def json(self) -> Any:
        """The value; ValueError where there is none."""
        return parse(self.text, strict=True)


def read_key(variable: str) -> str:
    """The key in an environment variable, without the line end that a file or `echo` adds; RunError for an odd one."""
    key = os.environ.get(variable, "").strip()
    for place, character in enumerate(key, 1):
        if not "!" <= character <= "~":
            raise RunError(
                f"the key in the environment variable {variable} cannot be one: character {place} of {len(key)} is a "
                "space, a line end or no ASCII. Set it to the key alone and launch again"
            )
    return key


class Endpoint:
    """Where to ask, with the key that opens it; several threads may ask."""

    def __init__(self, base_url: str, key_variable: str, seconds: float) -> None:
        self.url, self.seconds = base_url.rstrip("/"), seconds
        self.key = read_key(key_variable)
        self._headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self._tls = httpx.create_ssl_context()
        self._forms = sorted(_forms(self.key), key=len, reverse=True)

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """What the endpoint answers within the time, whatever it waits or drips; EndpointError without an answer."""
        return self._within("POST", "chat/completions", json.dumps(body).encode())

    def models(self) -> Reply:
        """What it answers to who asks for the names of its models, which costs nothing; EndpointError as above."""
        return self._within("GET", "models", b"")

    def _within(self, method: str, path: str, body: bytes) -> Reply:
        try:
            return asyncio.run(asyncio.wait_for(self._asked(method, f"{self.url}/{path}", body), self.seconds))
        except TimeoutError as error:
            raise EndpointError(f"no whole reply in {self.seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise EndpointError(self.shown(f"{type(error).__name__}: {error}")) from error

    async def _asked(self, method: str, url: str, body: bytes) -> Reply:
        async with (
            httpx.AsyncClient(headers=self._headers, timeout=self.seconds, verify=self._tls) as client,
            client.stream(method, url, content=body, headers=_JSON) as response,
        ):
            content = bytearray()
            async for chunk in response.aiter_bytes(1 << 16):
                content += chunk
                if len(content) > MOST_BYTES:
                    raise EndpointError(f"a reply of more than {MOST_BYTES >> 20} MiB")
            text = self.clean(content.decode("utf-8", "replace"))
            return Reply(response.status_code, text, self.shown(response.headers.get("retry-after", "")))

    def clean(self, text: str) -> str:
        """The text without the key, in any form that programs write it in."""
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def clean_value(self, value: Any) -> Any:
        """A JSON value without the key in any of its texts: escapes may have hidden it."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self.clean_value(one) for one in value]
        if isinstance(value, dict):
            return {self.clean(key): self.clean_value(one) for key, one in value.items()}
        return value

    def shown(self, text: str) -> str:
        """A text from outside for a message: clean, short, without orders to a terminal."""
        return visible(self.clean(text)[:SHOWN].replace("\n", " "))


_JSON = {"Content-Type": "application/json"}


def _forms(key: str) -> set[str]:
    """A key as it is, and as Python, JSON, URLs, logs and basic authentication write it."""
    if len(key) < SHORTEST_SECRET:
        return set()
    encoded = base64.b64encode(key.encode()).decode().rstrip("=")
    hexadecimal = key.encode().hex()
    written = {repr(key)[1:-1], repr(key.encode())[2:-1], json.dumps(key)[1:-1], quote(key), quote(key, safe="")}
    return {key, *written, encoded, hexadecimal, hexadecimal.upper(), key[::-1]}
