"""yaml-language-server, which editors complete and check YAML with, driven over stdio.

async with LanguageServer(folder) as server:
    await server.open("gateway.yaml", text)
    labels = await server.completes("gateway.yaml", line=3, column=5)
"""

from __future__ import annotations

import asyncio
import json
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.deadline import deadline
from tests.js.install import NODE

__all__ = ["LanguageServer"]

PROGRAM = Path(__file__).parent / "js/node_modules/yaml-language-server/bin/yaml-language-server"

# What an editor's settings say; without the schema store, nothing goes to the network.
SETTINGS = {
    "yaml": {
        "schemaStore": {"enable": False},
        "completion": True,
        "hover": True,
        "validate": True,
    }
}


class LanguageServer:
    """One server process for the files of a folder; lines and columns count from 1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._diagnostics: asyncio.Queue[tuple[str, list[str]]] = asyncio.Queue()
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            NODE, PROGRAM, "--stdio", stdin=pipe, stdout=pipe
        )
        self._reading = asyncio.create_task(self._read())
        root = self._folder.as_uri()
        await self._ask(
            "initialize",
            processId=None,
            rootUri=root,
            workspaceFolders=[{"uri": root, "name": "project"}],
            capabilities={
                "workspace": {"configuration": True},
                "textDocument": {
                    "completion": {"completionItem": {"snippetSupport": True}},
                    "hover": {"contentFormat": ["markdown"]},
                },
            },
        )
        self._tell("initialized")
        self._tell("workspace/didChangeConfiguration", settings=SETTINGS)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ask("shutdown")
        self._tell("exit")
        async with deadline():
            await self._process.wait()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def open(self, name: str, text: str) -> list[str]:
        """Open a file as `text` and return what is wrong with it, each with its line."""
        document = {"uri": self._uri(name), "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", textDocument=document)
        async with deadline():
            while (found := await self._diagnostics.get())[0] != self._uri(name):
                pass
        return found[1]

    async def completes(self, name: str, line: int, column: int) -> list[str]:
        """Return the labels that are offered at a position, sorted."""
        answer = await self._at("textDocument/completion", name, line, column)
        items = answer["items"] if isinstance(answer, dict) else answer or []
        return sorted(item["label"] for item in items)

    async def hover(self, name: str, line: int, column: int) -> str:
        """Return what is shown for the word at a position."""
        answer = await self._at("textDocument/hover", name, line, column)
        return str(answer["contents"]["value"]) if answer else ""

    async def _at(self, method: str, name: str, line: int, column: int) -> Any:
        position = {"line": line - 1, "character": column - 1}
        return await self._ask(method, textDocument={"uri": self._uri(name)}, position=position)

    def _uri(self, name: str) -> str:
        return (self._folder / name).as_uri()

    async def _ask(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "method": method, "params": params})
        async with deadline():
            return await answer

    def _tell(self, method: str, **params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while head := await self._process.stdout.readuntil(b"\r\n\r\n"):
            length = int(head.split(b":")[1].split()[0])
            self._take(json.loads(await self._process.stdout.readexactly(length)))

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"method": "workspace/configuration", "id": number, "params": {"items": items}}:
                wanted = [SETTINGS.get(each["section"], {}) for each in items]
                self._send({"id": number, "result": wanted})
            case {"method": "textDocument/publishDiagnostics", "params": params}:
                lines = [
                    f"{each['range']['start']['line'] + 1}: {each['message']}"
                    for each in params["diagnostics"]
                ]
                self._diagnostics.put_nowait((params["uri"], lines))
            case {"method": _, "id": number}:
                self._send({"id": number, "result": None})
            case {"id": number}:
                self._answers.pop(number).set_result(message.get("result"))
