"""TIPSv2 with small random weights, compared with the library's own implementation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_models import WIDTH, save_tips
from torch.nn import functional

from lseg_ros import load_model
from lseg_ros.model.variants import HUB_VARIANTS, TIPSV2_B14

transformers = pytest.importorskip("transformers", minversion="5.14", reason="TIPSv2 needs the extra hub")
pytestmark = pytest.mark.numeric

PHRASES = ["a cat", "bad cab", "c"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("hub") / "small_tips"
    return folder, save_tips(folder)


@pytest.fixture(autouse=True)
def small_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HUB_VARIANTS, "small_tips", replace(TIPSV2_B14, name="small_tips", embed_dim=WIDTH))


def test_text_is_the_librarys(small: tuple[Path, Any]) -> None:
    folder, library = small
    net = load_model(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for phrase in PHRASES:  # one by one, so that the library needs no padding
        tokens = tokenizer(phrase, return_tensors="pt")
        with torch.no_grad():
            pooled = library.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output
        expected = functional.normalize(pooled, dim=-1)
        torch.testing.assert_close(net.text_encoder(PHRASES)[PHRASES.index(phrase)][None], expected, atol=1e-5, rtol=0)
    assert len(net.variant.templates) == 9
    assert net.encode_text(PHRASES).shape == (3, WIDTH)
    assert net.text_encoder.tokens("A Cat") == net.text_encoder.tokens("a cat")
    with pytest.raises(ValueError, match="reads at most 64"):
        net.check_phrase("a" * 80)


@pytest.mark.parametrize("size", [(56, 56), (28, 70), (84, 112)])
def test_pixels_are_the_librarys_with_values_in_place_of_attention(
    small: tuple[Path, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, library = small
    net = load_model(folder)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    attention = library.vision_model.encoder.layer[-1].attention

    def values(hidden: torch.Tensor, *rest: object, **options: object) -> tuple[torch.Tensor, None]:
        return attention.o_proj(attention.v_proj(hidden)), None

    with torch.no_grad():
        plain = library.vision_model(pixel_values=images).last_hidden_state[:, 2:]
        monkeypatch.setattr(attention, "forward", values)
        expected = library.vision_model(pixel_values=images).last_hidden_state[:, 2:]
        (found,) = net.encoder(images)
    assert found.shape == (1, WIDTH, size[0] // 14, size[1] // 14)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, atol=1e-4, rtol=0)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_images_are_seen_at_the_size_that_is_asked_for(small: tuple[Path, Any]) -> None:
    """Of 448 pixels each patch has 14, as in training, and an image of that size is not resized."""
    net = load_model(small[0])
    assert net.variant.input_size == 448
    with pytest.raises(ValueError, match=r"multiples of 14\. Nearest: height 56 or 70, width 56\."):
        net.encode_image(torch.zeros(1, 3, 64, 56))
    (patches,) = net.encoder(torch.zeros(1, 3, 448, 336))
    assert patches.shape[2:] == (32, 24)
