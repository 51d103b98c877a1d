"""YAML's syntax errors in the words of the person who made them."""

from __future__ import annotations

import re

__all__ = ["explain"]

_INDENT = "indent the keys of a mapping alike, and the items of a list"

# Patterns in what PyYAML says, and what we say: first of mistakes to show where the thing began,
_BEGAN = {
    r"could not find expected ':'": "a key without ':'; write 'key: value'",
    r"flow sequence .* got '<stream end>'": "this '[' is never closed",
    r"flow mapping .* got '<stream end>'": "this '{{' is never closed",
    r"scanning a quoted scalar": "this quote is never closed",
    r"scanning an alias": "text that starts with '*' must stand in quotes",
    r"scanning an anchor": "text that starts with '&' must stand in quotes",
    r"(?:scanning|parsing) a tag|undefined tag handle": (
        "text that starts with '!' must stand in quotes"
    ),
    r"scanning a block scalar": "after '|' or '>' the text starts on the next line, indented",
}
# then of mistakes to show where reading stopped.
_STOPPED = {
    r"mapping values are not allowed": (
        "a ':' cannot stand here; indent the keys of a mapping alike, write a space after each "
        "':', and put text that holds ': ' in quotes"
    ),
    r"sequence entries are not allowed": "a list cannot start here; start it on the next line",
    r"mapping keys are not allowed": "text that starts with '? ' must stand in quotes",
    r"found character '\\t' that cannot": "a tab cannot indent; use spaces",
    r"found character ('.') that cannot": "text that starts with {0} must stand in quotes",
    r"expected <block end>, but found '(?:-|\?|<block .*)'": (
        f"this does not line up with what stands above it; {_INDENT}"
    ),
    r"expected <block end>": "the value ended before this; put the whole in quotes, or indent it",
    r"expected '<document start>'": f"this does not belong to what stands above it; {_INDENT}",
    r"expected ('.' or '.'), but got '{'": (
        "expected {0}, got '{{'; between brackets put '${{VAR}}' in quotes"
    ),
    r"expected ('.' or '.'), but got": (
        "expected {0} before this; is the bracket opened in line {line} closed?"
    ),
    r"expected the node content, but found '<stream end>'": "the file ends too early",
    r"expected the node content, but found (.*)": "expected a value, got {0}",
    r"found unknown escape character '(.*)'": (
        r"'\{0}' is no escape; use single quotes, or write '\\' for a backslash"
    ),
    r"expected escape sequence of (\d+)": "expected {0} hexadecimal digits",
}


def explain(said: str, line: int) -> tuple[str, bool]:
    """PyYAML's error in our words, and whether to point at where the thing began, in `line`."""
    for sentences in (_BEGAN, _STOPPED):
        for pattern, sentence in sentences.items():
            found = re.search(pattern, said)
            if found:
                return sentence.format(*found.groups(), line=line), sentences is _BEGAN
    return f"not valid YAML: {said}", False
