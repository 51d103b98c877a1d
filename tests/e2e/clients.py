"""The stock clients, each with its transports and its parser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["KINDS", "Kind", "Parser"]

Parser = Literal["json", "msgpack"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A client and how it connects; `upgrade` has done so before a test begins."""

    version: Literal[3, 4]
    transport: Literal["polling", "websocket", "upgrade"]
    parser: Parser = "json"

    def __str__(self) -> str:
        return f"{self.version}.x-{self.transport}" + ("-msgpack" if self.parser != "json" else "")

    @property
    def options(self) -> dict[str, Any]:
        upgrading = self.transport == "upgrade"
        parser = {} if self.parser == "json" else {"parser": self.parser}
        transports = ["polling", "websocket"] if upgrading else [self.transport]
        return {"version": self.version, "transports": transports, **parser}

    @property
    def base64(self) -> bool:
        """Whether a message of bytes grows by a third on its way."""
        return self.transport == "polling"


CLIENTS: list[tuple[Literal[3, 4], Parser]] = [(4, "json"), (3, "json"), (4, "msgpack")]
KINDS = [
    Kind(version, transport, parser)
    for version, parser in CLIENTS
    for transport in ("polling", "websocket", "upgrade")
]
