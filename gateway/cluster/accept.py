"""What is accepted of those on the bus that are no members: Node servers, emitters and others.

Members are told apart by what only they send. It is no authentication: whoever can publish can
pretend to be a member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from gateway.cluster import messages as wire
from gateway.cluster.messages import Request

__all__ = ["Accept", "Operation", "Rule", "Source", "operation_of"]

Source = Literal["node", "emitter", "python-socketio"]
Operation = Literal["emit", "join", "leave", "disconnect", "publish", "list"]

_EMITTERS = ("", "emitter")
"""What emitters have instead of an id."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one source may do; `None` is everything, or everywhere."""

    namespaces: frozenset[str] | None = None
    operations: frozenset[Operation] | None = None

    def allows(self, operation: Operation, namespace: str) -> bool:
        is_there = self.namespaces is None or namespace in self.namespaces
        return is_there and (self.operations is None or operation in self.operations)


@dataclass(frozen=True, slots=True)
class Accept:
    """The rule of each source; of those without one, nothing is accepted."""

    rules: Mapping[Source, Rule] = field(default_factory=lambda: MappingProxyType({}))

    def allows(self, uid: str, operation: Operation, namespace: str) -> bool:
        """Tell whether a message of a Node server or an emitter is accepted."""
        rule = self.rules.get("emitter" if uid in _EMITTERS else "node")
        return rule is not None and rule.allows(operation, namespace)

    def allows_python(self, operation: Operation, namespace: str) -> bool:
        """Tell whether a message of python-socketio is accepted."""
        rule = self.rules.get("python-socketio")
        return rule is not None and rule.allows(operation, namespace)


def operation_of(request: Request) -> Operation:
    """What a request does."""
    return _OPERATIONS.get(type(request), "list")


_OPERATIONS: Mapping[type[object], Operation] = {
    wire.Join: "join",
    wire.Leave: "leave",
    wire.Disconnect: "disconnect",
    wire.Publish: "publish",
    wire.Call: "emit",
}
