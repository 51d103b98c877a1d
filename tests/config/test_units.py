from __future__ import annotations

import pytest

from gateway.config.build import byte_count, seconds


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("500ms", 0.5),
        ("25s", 25.0),
        ("1.5s", 1.5),
        ("20m", 1200.0),
        ("1h", 3600.0),
        (25, 25.0),
        (2.5, 2.5),
    ],
)
def test_a_duration_is_seconds(written: str | float, value: float) -> None:
    assert seconds(written) == pytest.approx(value)
    assert isinstance(seconds(written), float)


@pytest.mark.parametrize(
    ("written", "value"),
    [("64KB", 64_000), ("1MB", 1_000_000), ("1.5MB", 1_500_000), ("0.001KB", 1), (4096, 4096)],
)
def test_a_size_is_bytes(written: str | float, value: int) -> None:
    assert byte_count(written) == value
    assert isinstance(byte_count(written), int)
