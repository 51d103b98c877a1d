from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, TypedDict

import msgspec
import pytest

from gateway.loader import bind_options

if TYPE_CHECKING:
    from nowhere import Unknown

    from .conftest import Folder


@dataclass
class Limit:
    rate: float
    burst: int = 1

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate is negative")


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Server(TypedDict):
    host: str


class Own: ...


class Shape(Protocol):
    def area(self) -> float: ...


def factory(url: str, *, burst: int = 5, gateway: Any = None) -> None: ...


def faults(target: Callable[..., object], **options: object) -> list[tuple[str | None, str]]:
    return list(bind_options(target, options, given=("gateway",)).faults)


def taking(hint: object) -> Callable[..., None]:
    def make(x: object) -> None: ...

    make.__annotations__["x"] = hint
    return make


def fault(hint: object, value: object) -> str:
    ((name, message),) = faults(taking(hint), x=value)
    assert name == "x"
    return message


def test_options_that_fit_have_no_faults() -> None:
    bound = bind_options(factory, {"url": "redis://", "burst": 9})
    assert bound.kwargs == {"url": "redis://", "burst": 9}
    assert bound.faults == ()
    assert bound.given == frozenset()


def test_defaults_are_left_to_the_factory() -> None:
    assert bind_options(factory, {"url": "redis://"}).kwargs == {"url": "redis://"}


def test_what_the_gateway_gives_is_named_where_it_is_taken() -> None:
    assert bind_options(factory, {"url": ""}, given=("gateway",)).given == {"gateway"}
    assert bind_options(Own, {}, given=("gateway",)).given == frozenset()


def test_every_fault_is_told() -> None:
    assert faults(factory, brust=1, burst="x", gateway=1) == [
        ("brust", "unknown option 'brust', did you mean 'burst'?"),
        ("burst", "option 'burst' must be int, got str"),
        ("gateway", "option 'gateway' is set by the gateway; remove it"),
        (None, "missing option 'url'"),
    ]


def test_unknown_option_lists_the_known() -> None:
    assert faults(factory, url="", zzz=1) == [("zzz", "unknown option 'zzz'; options: url, burst")]


def test_factory_without_options_says_so() -> None:
    assert faults(Own, x=1) == [("x", "unknown option 'x': there are no options")]


def test_parameter_the_gateway_gives_is_not_missing() -> None:
    def needs_gateway(gateway: Any) -> None: ...

    assert faults(needs_gateway) == []


def test_any_option_goes_where_there_are_keywords() -> None:
    def open_ended(a: int, **more: int) -> None: ...

    assert bind_options(open_ended, {"a": 1, "b": 2}).kwargs == {"a": 1, "b": 2}
    assert faults(open_ended, a=1, b="x") == [("b", "option 'b' must be int, got str")]


def test_positional_only_parameter_cannot_be_set() -> None:
    def positional(a: int, b: int = 1, /, *rest: int) -> None: ...

    assert faults(positional) == [(None, "parameter 'a' is positional-only: no option can set it")]


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, "3", "option 'x' must be int, got str"),
        (int, True, "option 'x' must be int, got bool"),
        (int, 1.5, "option 'x' must be int, got float"),
        (float, "1", "option 'x' must be float, got str"),
        (str, 1, "option 'x' must be str, got int"),
        (bool, 1, "option 'x' must be bool, got int"),
        (bytes, "aGk=", "option 'x' must be bytes, got str"),
        (list[str], "a", "option 'x' must be list, got str"),
        (list[str], ["a", 1], "option 'x[1]' must be str, got int"),
        (dict[str, int], [], "option 'x' must be mapping, got list"),
        (dict[str, int], {"a": "b"}, "option 'x[...]' must be int, got str"),
        (dict[str, int], {1: 1}, "a key of option 'x' must be str, got int"),
        (tuple[int, int], [1], "option 'x' must be list of length 2, got 1"),
        (int | None, "a", "option 'x' must be int or null, got str"),
        (int, None, "option 'x' must be int, got null"),
        (Literal["a", "b"], "c", "option 'x' must be one of 'a', 'b', got 'c'"),
        (Literal[1, 2], 3, "option 'x' must be one of 1, 2, got 3"),
        (Mode, "fst", "option 'x' must be one of 'fast', 'slow', got 'fst'"),
        (list[Mode], ["fst"], "option 'x[0]': invalid enum value 'fst'"),
        (Limit, {}, "option 'x': object missing required field 'rate'"),
        (Limit, {"rate": "x"}, "option 'x.rate' must be float, got str"),
        (Limit, {"rate": -1}, "option 'x': rate is negative"),
        (list[Limit], [{"rate": 1, "burst": []}], "option 'x[0].burst' must be int, got list"),
        (Server, {"host": 1}, "option 'x.host' must be str, got int"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "option 'x' must be int >= 1"),
        (Path, 1, "option 'x' must be Path, got int"),
    ],
)
def test_wrong_value_is_told_in_words(hint: object, value: object, expected: str) -> None:
    assert fault(hint, value) == expected


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (float, 1, 1.0),
        (Limit, {"rate": 1}, Limit(1.0)),
        (Mode, "fast", Mode.FAST),
        (Path, "a/b", Path("a/b")),
        (Path | None, "a/b", Path("a/b")),
        (Path | None, None, None),
        (list[Path], ["a"], [Path("a")]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[str], ["a"], {"a"}),
        (Mapping[str, int], {"a": 1}, {"a": 1}),
        ("Limit", {"rate": 1}, Limit(1.0)),
        ("list[Limit]", [{"rate": 1}], [Limit(1.0)]),
        (bytes, b"x", b"x"),
        (Any, "x", "x"),
        (object, "x", "x"),
    ],
)
def test_value_arrives_as_its_annotation_says(
    hint: object, value: object, expected: object
) -> None:
    bound = bind_options(taking(hint), {"x": value})
    assert bound.faults == ()
    assert bound.kwargs["x"] == expected
    assert type(bound.kwargs["x"]) is type(expected)


@pytest.mark.parametrize(
    "hint",
    [
        Own,
        Own | None,
        list[Own],
        list[Shape],
        str | bytes,
        Callable[[int], int],
        "Unknown",
        "Unknown | None",
        "1 / 0",
        "no syntax (",
    ],
)
def test_annotation_nobody_can_check_asks_for_nothing(hint: object) -> None:
    value = ["x"]
    assert bind_options(taking(hint), {"x": value}).kwargs == {"x": value}


def test_one_unknown_annotation_does_not_hide_the_others() -> None:
    def make(a: Unknown, b: int) -> None: ...

    assert faults(make, a=1, b="x") == [("b", "option 'b' must be int, got str")]


class Plain:
    def __init__(self, limit: Limit) -> None: ...


class Inherits(Plain): ...


class Tuple(NamedTuple):
    limit: Limit


class Record(msgspec.Struct):
    limit: Limit


@dataclass
class Data:
    limit: Limit


def wrapped(limit: Limit) -> None: ...


@functools.wraps(wrapped)
def wrapper(*args: object, **kwargs: object) -> None: ...


@pytest.mark.parametrize(
    "target",
    [Plain, Inherits, Tuple, Record, Data, wrapper, functools.partial(wrapped), Plain.__init__],
)
def test_annotations_are_found_on_every_kind_of_factory(target: Callable[..., object]) -> None:
    options = {"limit": {"rate": "x"}}
    assert ("limit", "option 'limit.rate' must be float, got str") in bind_options(
        target, options
    ).faults


def test_annotation_is_read_where_it_was_written() -> None:
    """A decorator may come from a file that knows other names."""
    elsewhere: dict[str, Any] = {}
    exec(
        "import functools\n"
        "def decorate(function):\n"
        "  @functools.wraps(function)\n"
        "  def call(*args, **kwargs): pass\n"
        "  return call",
        elsewhere,
    )
    assert faults(elsewhere["decorate"](wrapped), limit=1) == [
        ("limit", "option 'limit' must be mapping, got int")
    ]


def test_classes_of_an_installed_set_are_understood(folder: Folder) -> None:
    source = """
        from __future__ import annotations
        from dataclasses import dataclass

        @dataclass
        class Limit:
            rate: float
            next: Limit | None = None

        def make(limit: Limit): return limit
    """
    make: Any = folder.install({"a.py": source}).resolve("a.make").target
    bound = bind_options(make, {"limit": {"rate": 1, "next": {"rate": "x"}}})
    assert bound.faults == (("limit", "option 'limit.next.rate' must be float, got str"),)


def test_factory_without_a_signature_takes_the_options_as_they_are() -> None:
    class Table(dict[str, int]): ...

    bound = bind_options(Table, {"a": 1})
    assert bound.kwargs == {"a": 1}
    assert bound.faults == ()
