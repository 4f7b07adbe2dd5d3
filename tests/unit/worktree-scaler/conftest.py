"""What the tests of worktree-scaler's parts share."""

from pathlib import Path

import pytest

from worktree_scaler.settings import AgentSettings, ScalerSettings


@pytest.fixture
def settings() -> ScalerSettings:
    """One configured agent, `support`."""
    return ScalerSettings(
        nats_url="", data_dir=Path(), directory=Path(), agents={"support": AgentSettings(("agent",), capacity=2)}
    )
