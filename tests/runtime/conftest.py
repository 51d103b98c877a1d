from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.testing import TestGateway
from tests.gateway_files import write


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., TestGateway]:
    """Make a `TestGateway` from the text of its YAML and of its plugins."""
    return lambda config, **plugins: TestGateway(write(tmp_path, config, **plugins), {})
