"""An event's arguments as parameters of its handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter
from itertools import repeat

import msgspec

from gateway.errors import Reject
from gateway.loader.annotations import convert, misfit, parameters_of
from gateway.loader.signature import BY_POSITION

__all__ = ["Arguments", "arguments_of"]

# The reader is the author of a client, most likely in JavaScript.
_WORDS = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_UNCHECKED = Parameter.empty


@dataclass(frozen=True, slots=True)
class Arguments:
    """The parameters of a handler after its context.

    `takes_all` is true when it names no arguments: any packet fits, and none are passed. `names`
    are the named ones, the first `least` of them without a default; `hints` are their annotations.
    `more` is the name of its `*more`, or `None`, and `more_hint` its annotation.
    """

    takes_all: bool
    names: tuple[str, ...]
    least: int
    hints: tuple[object, ...]
    more: str | None
    more_hint: object
    is_checked: bool

    def bind(self, args: Sequence[object]) -> Sequence[object]:
        """Return the arguments to pass after the context, converted to their annotations.

        Raises `Reject` with the code `bad_request` when they do not fit.
        """
        if self.takes_all:
            return ()
        count = len(args)
        if count < self.least or (count > len(self.names) and self.more is None):
            raise Reject("bad_request", f"expected {self.wanted}, got {count}")
        return self._converted(args) if self.is_checked else args

    def _converted(self, args: Sequence[object]) -> Sequence[object]:
        hints = self.hints
        if len(args) > len(hints):
            hints = (*hints, *repeat(self.more_hint, len(args) - len(hints)))
        values: list[object] = []
        try:
            for value, hint in zip(args, hints, strict=False):
                fits = value.__class__ is hint or hint is _UNCHECKED
                values.append(value if fits else convert(value, hint))
        except msgspec.ValidationError as error:
            fault = misfit("argument", self._name(len(values)), hint, error, _WORDS)
            raise Reject("bad_request", fault) from None
        return values

    def _name(self, position: int) -> str:
        named = len(self.names)
        return self.names[position] if position < named else f"{self.more}[{position - named}]"

    @property
    def wanted(self) -> str:
        """The number of arguments in words, and their names: `1 to 2 arguments (text, count)`."""
        most = len(self.names)
        if self.more is not None:
            wanted, number = f"at least {self.least}", self.least
        elif self.least == most:
            wanted, number = str(most), most
        else:
            wanted, number = f"{self.least} to {most}", most
        noun = "argument" if number == 1 else "arguments"
        return f"{wanted} {noun} ({', '.join(self.names)})"

    def takes(self, count: int) -> bool:
        """Tell whether that many arguments fit."""
        least, most = self.least, len(self.names)
        return self.takes_all or (least <= count and (count <= most or self.more is not None))

    def misfit(self, position: int, value: object) -> str | None:
        """Return why no value of this value's type fits at a position, or `None`."""
        hint = self.hints[position] if position < len(self.hints) else self.more_hint
        if self.takes_all or hint is _UNCHECKED:
            return None
        try:
            convert(value, hint)
        except msgspec.ValidationError as error:
            is_another_type = str(error).startswith("Expected `") and " - at " not in str(error)
            if is_another_type:
                return misfit("argument", self._name(position), hint, error, _WORDS)
        return None


def arguments_of(handler: Callable[..., object]) -> Arguments:
    """Return the parameters of a handler that has no `handler_fault`.

    Made once and used for every packet.
    """
    by_position = [each for each in parameters_of(handler) if each.kind in BY_POSITION]
    if by_position[0].kind is not Parameter.VAR_POSITIONAL:
        del by_position[0]  # the context
    named = [each for each in by_position if each.kind is not Parameter.VAR_POSITIONAL]
    more = by_position[-1] if len(named) < len(by_position) else None
    return Arguments(
        takes_all=not by_position,
        names=tuple(each.name for each in named),
        least=sum(each.default is Parameter.empty for each in named),
        hints=tuple(each.annotation for each in named),
        more=more.name if more else None,
        more_hint=more.annotation if more else _UNCHECKED,
        is_checked=any(each.annotation is not _UNCHECKED for each in by_position),
    )
