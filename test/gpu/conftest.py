"""Fixtures of the tests on a GPU. They are skipped without one."""

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder."""
    missing = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device here")
    for item in items:
        if "gpu" in item.path.parent.parts[-1:]:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(missing)


@pytest.fixture
def cuda() -> torch.device:
    """Returns the first GPU."""
    return torch.device("cuda", 0)
