"""What several files of unit tests ask for by name."""

from collections.abc import Iterator

import pytest
import torch
from tiny import TINY, HashText

from lseg_ros.model import weights
from lseg_ros.model.text import TextEncoder, build_text_encoder
from lseg_ros.model.variants import VARIANTS, Variant
from lseg_ros.training import trainer


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So small a network only waits for further threads; and with another number of them sums differ."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variant "tiny" can be loaded and trained by its name."""

    def build(variant: Variant) -> TextEncoder:
        return HashText() if variant.text == "none" else build_text_encoder(variant)

    monkeypatch.setitem(VARIANTS, "tiny", TINY)
    monkeypatch.setattr(weights, "build_text_encoder", build)
    monkeypatch.setattr(trainer, "build_text_encoder", build)
