"""Sessions of packets that are almost valid; `python -m tests.fuzz.sessions` runs more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.sessions import SERIALIZERS, Report, Serializer, fuzzed
from tests.hostile.conftest import recorded

SEEDS = range(1, 151)


@pytest.mark.parametrize("serializer", SERIALIZERS)
async def test_a_session_ends_or_goes_on_by_the_rules(
    tmp_path: Path, serializer: Serializer
) -> None:
    report = Report()
    with recorded() as records:
        async with fuzzed(tmp_path, serializer, records) as gateway:
            await gateway.run(SEEDS, report)
    assert report.failures == []
    assert report.sessions == len(SEEDS)
    assert 0 < report.ended < report.sessions
