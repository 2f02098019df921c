"""Comparison with outputs of the original network, if they are available (README, "Numbers of the original")."""

import pytest
import torch
from reference import REFERENCE, TINY_VIT

from lseg_ros import load_model
from lseg_ros.model.backbone import VitEncoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import Clip

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs the original's outputs beside the project"),
]
CASES = ["seed0_96x96", "seed1_96x96", "seed2_96x96", "seed3_64x128"]
LISTS = ["3", "7", "150"]


@pytest.fixture(scope="module")
def net() -> LSegNet:
    return load_model(REFERENCE / "tiny.ckpt", variant=TINY_VIT)


@pytest.fixture(scope="module")
def reference() -> dict:
    return torch.load(REFERENCE / "tiny_reference.pt", weights_only=True)


def tokenize(net: LSegNet, phrases: list[str]) -> torch.Tensor:
    assert isinstance(net.text_encoder, Clip)
    return net.text_encoder.tokenize(phrases)


def images(case: dict) -> torch.Tensor:
    return (case["image_u8"].float() / 255 - 0.5) / 0.5


@pytest.mark.parametrize("labels", LISTS)
def test_text(net: LSegNet, reference: dict, labels: str) -> None:
    expected = reference["text"][labels]
    assert torch.equal(tokenize(net, reference["labels"][labels]).int(), expected["tokens"])
    torch.testing.assert_close(net.encode_text(reference["labels"][labels]), expected["normalized"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("labels", LISTS)
@pytest.mark.parametrize("name", CASES)
def test_logits(net: LSegNet, reference: dict, name: str, labels: str) -> None:
    case = reference["cases"][name]
    expected = case["logits"][labels]
    with torch.no_grad():
        logits = net(images(case), net.encode_text(reference["labels"][labels]))
    key = next(k for k in expected if k.startswith("logits_s"))
    stride = int(key.removeprefix("logits_s"))
    torch.testing.assert_close(logits[..., ::stride, ::stride], expected[key], rtol=0, atol=1e-4)
    top = logits.topk(2, dim=1).values
    decided = top[:, 0] - top[:, 1] > 2e-4  # each of the two logits may be off by 1e-4
    assert torch.equal(logits.argmax(1)[decided].byte(), expected["argmax_u8"][decided])
    assert decided.float().mean() > 0.99


@pytest.mark.parametrize("name", ["seed0_96x96", "seed3_64x128"])
def test_intermediates(net: LSegNet, reference: dict, name: str) -> None:
    case = reference["cases"][name]
    expected, x = case["intermediates"], images(case)
    assert isinstance(net.encoder, VitEncoder)
    with torch.no_grad():
        tokens, _ = net.encoder.tokens(x)
        pyramid = net.encoder(x)
        levels = [project(level) for project, level in zip(net.decoder.project, pyramid, strict=True)]
        paths = [net.decoder.fuse[3](levels[3])]
        for level in (2, 1, 0):
            paths.append(net.decoder.fuse[level](paths[-1], levels[level]))
        found = {f"block_{i}": t for i, t in zip((1, 3, 5, 7), tokens, strict=True)}
        found |= {f"layer_{i + 1}_s1": x for i, x in enumerate(pyramid)}
        found |= {f"layer_{i + 1}_rn_s1": x for i, x in enumerate(levels)}
        found |= {f"path_{4 - i}_s1": x for i, x in enumerate(paths)}
        found["image_features_raw_s8"] = net.decoder.head(paths[-1])[..., ::8, ::8]
        found["image_features_normalized_s8"] = net.encode_image(x)[..., ::8, ::8]
    assert {key: (value - expected[key]).abs().max().item() < 1e-4 for key, value in found.items()} == dict.fromkeys(
        found, True
    )


def test_half_precision_deviates_no_more_than_the_originals(net: LSegNet, reference: dict) -> None:
    """The original's CUDA code has it in the text and at the end of the network, ours in the image encoder."""
    worst = {"ours": 0.0, "original": 0.0}
    changed = {"ours": 0.0, "original": 0.0}  # pixels with another label, over all cases
    for case in reference["cases"].values():
        x = images(case)
        with torch.no_grad():
            whole, half = net.encode_image(x), net.encode_image(x, torch.float16)
            for name, expected in case["logits"].items():
                text = net.encode_text(reference["labels"][name])
                size = (x.shape[2], x.shape[3])
                exact, ours = net.score(whole, text, size), net.score(half, text, size)
                worst["ours"] = max(worst["ours"], (ours - exact).abs().max().item())
                worst["original"] = max(worst["original"], expected["half_maxabs_diff"])
                changed["ours"] += (ours.argmax(1) != exact.argmax(1)).sum().item()
                changed["original"] += (1 - expected["half_argmax_agree"]) * exact[0, 0].numel()
    assert worst["ours"] <= worst["original"]
    assert changed["ours"] <= changed["original"]
