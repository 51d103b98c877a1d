from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.orders_shop import Shop, copied


@pytest.fixture
async def shop(js_packages: None, tmp_path: Path) -> Shop:
    """The example `orders`, which nothing runs yet."""
    return await copied(tmp_path / "orders")
