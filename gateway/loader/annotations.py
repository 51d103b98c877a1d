"""Annotations of parameters; msgspec checks and converts values by them.

An annotation that cannot be resolved (its name is imported under `if TYPE_CHECKING` only), or
that msgspec does not know, is ignored; `unchecked` tells which.
"""

from __future__ import annotations

import enum
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from pathlib import Path
from types import SimpleNamespace

import msgspec

from gateway.loader.signature import class_behind, names_seen_by, signature_of

__all__ = ["convert", "first_annotation", "misfit", "parameters_of", "unchecked"]


def parameters_of(target: Callable[..., object]) -> tuple[Parameter, ...]:
    """Return the parameters; annotations that `convert` cannot check are left out.

    Raises `ValueError` or `TypeError` for a callable in C that has no signature.
    """
    names = names_seen_by(target)
    return tuple(
        parameter.replace(annotation=_resolved(parameter.annotation, names)[0])
        for parameter in signature_of(target).parameters.values()
    )


def unchecked(target: Callable[..., object]) -> Mapping[str, str]:
    """Return the parameters whose annotation `convert` cannot check, and why."""
    try:
        parameters = signature_of(target).parameters.values()
    except (TypeError, ValueError):
        return {}
    names = names_seen_by(target)
    reasons = {each.name: _resolved(each.annotation, names)[1] for each in parameters}
    return {name: reason for name, reason in reasons.items() if reason}


def first_annotation(target: Callable[..., object]) -> object:
    """Return the class of the first parameter, `None` if its annotation cannot be resolved."""
    first = next(iter(signature_of(target).parameters.values()))
    single = SimpleNamespace(__annotations__={"value": first.annotation})
    try:
        return class_behind(typing.get_type_hints(single, names_seen_by(target))["value"])
    except Exception:  # as in `_resolved`
        return None


def convert(value: object, hint: object) -> object:
    """Convert the value to its annotation. Raises `msgspec.ValidationError`.

    A number becomes a `float`, a mapping a dataclass, a string a `Path`, but never a string a
    number, nor a string `bytes`.
    """
    try:
        return msgspec.convert(value, hint, builtin_types=(bytes,), dec_hook=_custom)
    except NotImplementedError:  # a class of the author's own, deep in the annotation
        return value


def misfit(
    kind: str,
    name: str,
    hint: object,
    error: msgspec.ValidationError,
    words: Mapping[str, str],
) -> str:
    """Return a sentence on why `convert` failed; `words` are the reader's names for types."""
    what, _, where = str(error).partition(" - at ")
    path = where.rstrip("`").partition("$")[2]
    subject = f"{kind} '{name}{path}'"
    if where.startswith("`key`"):
        subject = f"a key of {subject}"
    if what.startswith("Expected "):
        wanted = re.sub("`([^`]+)`", lambda match: _type_names(match[1], words), what)
        return f"{subject} must be {wanted.removeprefix('Expected ')}"
    choices = list(_choices(hint))
    if choices and not path and what.startswith("Invalid enum value "):
        allowed = ", ".join(map(repr, choices))
        return f"{subject} must be one of {allowed}, got {what.removeprefix('Invalid enum value ')}"
    return f"{subject}: {what[:1].lower()}{what[1:].replace('`', chr(39))}"


def _type_names(types: str, words: Mapping[str, str]) -> str:
    return " or ".join(words.get(each, each) for each in types.split(" | "))


def _choices(hint: object) -> Iterable[object]:
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return (each.value for each in hint)
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _custom(kind: type, value: object) -> object:
    if hasattr(kind, "named_in"):  # the gateway puts in what the file names
        if isinstance(value, kind):
            return value
        raise TypeError(f"Expected the name of one of {kind.named_in}")
    if kind is not Path:
        raise NotImplementedError
    return Path(value) if isinstance(value, str) else value


def _resolved(annotation: object, names: dict[str, object]) -> tuple[object, str]:
    """Return the type, and why it cannot be checked; it is `Parameter.empty` then."""
    if annotation is Parameter.empty:
        return Parameter.empty, ""
    single = SimpleNamespace(__annotations__={"value": annotation})
    try:
        hint = typing.get_type_hints(single, names, include_extras=True)["value"]
    except NameError as error:
        advice = "an import under 'if TYPE_CHECKING' does not count"
        return Parameter.empty, f"{error}; {advice}"
    except Exception as error:  # an annotation may do anything when it is evaluated
        return Parameter.empty, f"{type(error).__name__}: {error}"
    if hint in (typing.Any, object):
        return Parameter.empty, ""
    try:
        msgspec.convert("", hint, dec_hook=_custom)
    except msgspec.ValidationError:
        return hint, ""
    except Exception:
        is_class = inspect.isclass(hint) and not typing.get_args(hint)
        advice = "; use a dataclass, a TypedDict or a type of JSON" if is_class else ""
        name = getattr(hint, "__name__", hint) if is_class else hint
        return Parameter.empty, f"no value can be checked against {name}{advice}"
    return hint, ""
