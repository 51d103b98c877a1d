"""Options of the configuration as keyword arguments of a factory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter

import msgspec

from gateway.errors import did_you_mean
from gateway.loader.annotations import convert, misfit, parameters_of

__all__ = ["BoundOptions", "bind_options"]

_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
# The reader knows YAML.
_WORDS = {"array": "list", "object": "mapping"}


@dataclass(frozen=True, slots=True)
class BoundOptions:
    """The keyword arguments for a factory, and what does not fit.

    `kwargs` are the options, converted to the annotations. `given` are the parameters the gateway
    has to add. `faults` are messages, each with the option's name, or `None` for an option that is
    missing; when there are any, the factory must not be called.
    """

    kwargs: Mapping[str, object]
    given: frozenset[str]
    faults: tuple[tuple[str | None, str], ...]


def bind_options(
    factory: Callable[..., object],
    options: Mapping[str, object],
    given: Collection[str] = (),
) -> BoundOptions:
    """Fit options to a factory's signature; `given` are parameters the gateway itself passes."""
    try:
        parameters = parameters_of(factory)
    except (TypeError, ValueError):  # written in C: only the call can find out
        return BoundOptions(dict(options), frozenset(), ())
    named = {each.name: each for each in parameters if each.kind in _BY_NAME}
    rest = next((each for each in parameters if each.kind is Parameter.VAR_KEYWORD), None)
    settable = [name for name in named if name not in given]
    kwargs: dict[str, object] = {}
    faults: list[tuple[str | None, str]] = []
    for name, value in options.items():
        parameter = named.get(name, rest)
        if name in given or parameter is None:
            faults.append((name, _unknown(name, settable, given)))
            continue
        hint = parameter.annotation
        try:
            kwargs[name] = value if hint is Parameter.empty else convert(value, hint)
        except msgspec.ValidationError as error:
            faults.append((name, misfit("option", name, hint, error, _WORDS)))
    faults += [(None, fault) for fault in _missing(parameters, {*options, *given})]
    return BoundOptions(kwargs, frozenset(named).intersection(given), tuple(faults))


def _unknown(name: str, settable: Sequence[str], given: Collection[str]) -> str:
    if name in given:
        return f"option {name!r} is set by the gateway; remove it"
    if not settable:
        return f"unknown option {name!r}: there are no options"
    guess = did_you_mean(name, settable) or f"; options: {', '.join(settable)}"
    return f"unknown option {name!r}{guess}"


def _missing(parameters: Collection[Parameter], have: Collection[str]) -> Iterator[str]:
    for each in parameters:
        if each.default is not Parameter.empty:
            continue
        if each.kind is Parameter.POSITIONAL_ONLY:
            yield f"parameter {each.name!r} is positional-only: no option can set it"
        elif each.kind in _BY_NAME and each.name not in have:
            yield f"missing option {each.name!r}"
