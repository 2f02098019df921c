"""SigLIP 2 with small random weights, compared with the library's own implementation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_models import WIDTH, save_siglip
from torch.nn import functional

from lseg_ros import load_model
from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.variants import HUB_VARIANTS, SIGLIP2_B16

transformers = pytest.importorskip("transformers", minversion="5.14", reason="SigLIP 2 needs the extra hub")
pytestmark = pytest.mark.numeric

PHRASES = ["a cat", "bad cab", "c"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("hub") / "small_siglip"
    return folder, save_siglip(folder)


@pytest.fixture(autouse=True)
def small_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HUB_VARIANTS, "small_siglip", replace(SIGLIP2_B16, name="small_siglip", embed_dim=WIDTH))


def test_text_is_the_librarys(small: tuple[Path, Any]) -> None:
    folder, library = small
    net = load_model(folder)
    tokenizer = transformers.Siglip2Tokenizer.from_pretrained(folder)
    tokens = tokenizer(PHRASES, padding="max_length", padding_side="right", max_length=64, return_tensors="pt")
    assert tokens["input_ids"][2].tolist() == [8, 1, *[0] * 62]  # c, the end, padding
    with torch.no_grad():
        expected = library.get_text_features(tokens["input_ids"]).pooler_output  # it was trained without a mask
    torch.testing.assert_close(net.text_encoder(PHRASES), functional.normalize(expected, dim=-1), atol=1e-5, rtol=0)
    alone = torch.cat([net.text_encoder([phrase]) for phrase in PHRASES])
    torch.testing.assert_close(alone, net.text_encoder(PHRASES), atol=1e-5, rtol=0)


def test_capitals_are_read_as_in_training(small: tuple[Path, Any]) -> None:
    """The tokenizer that the Hub's folders name keeps capitals, and this vocabulary has none."""
    net = load_model(small[0])
    named = transformers.AutoTokenizer.from_pretrained(small[0])
    assert named("A Cat")["input_ids"] != named("a cat")["input_ids"]
    torch.testing.assert_close(net.encode_text(["A Cat"]), net.encode_text(["a cat"]), atol=0, rtol=0)
    assert net.text_encoder.tokens("A Cat") == net.text_encoder.tokens("a cat")
    assert net.variant.templates == ("this is a photo of {}.",)
    net.check_phrase("a" * 43)  # of 64 tokens, the sentence around it has 20, and the end is one
    with pytest.raises(ValueError, match="has 65 tokens and the text encoder reads at most 64"):
        net.check_phrase("a" * 44)


@pytest.mark.parametrize("size", [(64, 64), (32, 80), (96, 128)])
def test_pixels_are_patches_that_the_librarys_head_sees_alone(small: tuple[Path, Any], size: tuple[int, int]) -> None:
    folder, library = small
    net = load_model(folder)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    vision = library.vision_model
    with torch.no_grad():
        whole = vision(pixel_values=images, interpolate_pos_encoding=True)
        patches = whole.last_hidden_state
        expected = vision.head(patches.flatten(0, 1)[:, None]).unflatten(0, patches.shape[:2])
        (found,) = net.encoder(images)
    assert found.shape == (2, WIDTH, size[0] // 16, size[1] // 16)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, atol=1e-4, rtol=0)
    assert not torch.allclose(expected.mean(1), whole.pooler_output, atol=1e-3)


def test_the_scale_is_that_of_the_weights(small: tuple[Path, Any]) -> None:
    folder, library = small
    assert load_model(folder).variant.logit_scale == pytest.approx(library.logit_scale.exp().item())


def test_other_models_of_its_kind_are_refused(tmp_path: Path) -> None:
    save_siglip(tmp_path / "first", pad="</s>")
    with pytest.raises(CheckpointError, match="does not have the vocabulary of SigLIP 2"):
        load_model(tmp_path / "first")
    save_siglip(tmp_path / "large_patches", patch=32)
    with pytest.raises(CheckpointError, match="'siglip' of width 32 with patches of 32 pixels, which is none of"):
        load_model(tmp_path / "large_patches")
