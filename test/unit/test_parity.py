"""Pinned numbers of the original network: the same seeded weights, in its own checkpoint format, give the same logits.

`test/data/parity.json` says how the numbers were made.
"""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import torch
from original import original_shapes, original_state, save_lightning, seeded
from processes import PATIENCE
from torch import Tensor

from lseg_ros.model.backbone import VitEncoder
from lseg_ros.model.head_block import LogitBlock
from lseg_ros.model.net import LSegNet
from lseg_ros.model.variants import LSEG_RN101, ClipText, Decoder, HeadBlock, Variant, VitBackbone
from lseg_ros.model.weights import load_model

pytestmark = pytest.mark.numeric

PINNED = json.loads((Path(__file__).parents[1] / "data" / "parity.json").read_text())["cases"]
LABELS = ["wall", "Traffic  light", "cr\u00e8me br\u00fbl\u00e9e &amp; tea", "other"]
CLASSES = ["tvmonitor", "ac_wall"]  # of the zero-shot network: each image of the batch against one of them

_DECODER = Decoder(16, upsample=(2, 2, 2, 2))
_TEXT = ClipText(16, 2, 2)
VIT = Variant(
    "tiny_vit",
    VitBackbone(32, 8, 4, 16, 24, taps=(1, 3, 5, 7), channels=(8, 16, 32, 32), scale=(4, 2, 1, 0.5)),
    _DECODER,
    _TEXT,
    512,
)
VIT_PATCH_32 = Variant(
    "tiny_vit_b32",
    VitBackbone(32, 6, 4, 32, 4, taps=(0, 2, 3, 5), channels=(8, 8, 16, 32), scale=(8, 4, 2, 1)),
    _DECODER,
    _TEXT,
    512,
)
VIT_RN50X16 = replace(VIT, name="tiny_vit_rn50x16", text=ClipText(24, 2, 3), embed_dim=768)
RN101 = replace(LSEG_RN101, name="tiny_rn101", decoder=_DECODER, text=_TEXT)

# Name -> variant, and the image's height and width. Position embeddings are resized in all: down, up, and unevenly.
CASES: dict[str, tuple[Variant, tuple[int, int]]] = {
    "vit 96x96": (VIT, (96, 96)),
    "vit 64x128": (VIT, (64, 128)),
    "vit 32x448": (VIT, (32, 448)),
    "vit_b32 128x192": (VIT_PATCH_32, (128, 192)),
    "vit_rn50x16 64x96": (VIT_RN50X16, (64, 96)),
}
HEAD_BLOCKS = {
    f"{kind}{depth}-{activation} 64x96": HeadBlock(kind, depth, activation)
    for kind in ("bottleneck", "depthwise")
    for depth in (1, 2, 3)
    for activation in ("relu", "lrelu", "tanh")
}


def image(size: tuple[int, int], name: str = "image") -> Tensor:
    """Returns [1,3,H,W] in [-1, 1): coarse patches and fine noise."""
    height, width = size
    coarse = seeded(name, (1, 3, height // 16, width // 16)).repeat_interleave(16, 2).repeat_interleave(16, 3)
    return 0.6 * coarse + 0.4 * seeded(f"{name} noise", (1, 3, height, width))


def checkpoint(variant: Variant) -> dict[str, Tensor]:
    """Returns the state dict of a seeded network."""
    visual = None if variant.embed_dim == 768 else (64, 1)  # that CLIP's image tower is a ResNet
    return original_state(original_shapes(variant, visual))


def load(variant: Variant, folder: Path) -> LSegNet:
    path = folder / "seeded.ckpt"
    save_lightning(path, checkpoint(variant))
    net = load_model(path, variant=variant)
    path.unlink()
    return net


def compare(name: str, logits: Tensor) -> None:
    pinned = PINNED[name]
    assert list(logits.shape) == pinned["shape"]
    flat = logits.flatten()
    torch.testing.assert_close(flat[:: pinned["stride"]], torch.tensor(pinned["sample"]), rtol=0, atol=1e-4)
    assert [flat.mean().item(), flat.std().item()] == pytest.approx([pinned["mean"], pinned["std"]], abs=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_logits(name: str, tmp_path: Path) -> None:
    variant, size = CASES[name]
    net = load(variant, tmp_path)
    with torch.no_grad():
        compare(name, net(image(size), net.encode_text(LABELS)))


def test_head_blocks(tmp_path: Path) -> None:
    """All of them have the same kernel in the checkpoint and use it differently."""
    net = load(replace(VIT, head_block=HeadBlock("bottleneck", 1)), tmp_path)
    x, text = image((64, 96)), net.encode_text(LABELS)
    assert net.head_block is not None
    kernel = net.head_block.state_dict()
    for name, config in HEAD_BLOCKS.items():
        net.head_block = LogitBlock(config)
        net.head_block.load_state_dict(kernel)
        with torch.no_grad():
            compare(name, net(x, text))


def test_zero_shot_resnet(tmp_path: Path) -> None:
    """The original takes one class for each image. Here that is a list of texts for each."""
    net = load(RN101, tmp_path)
    for size in ((64, 64), (64, 96)):
        with torch.no_grad():
            logits = [net(image(size, name), net.encode_text(["others", name])) for name in CLASSES]
        compare(f"rn101 {size[0]}x{size[1]}", torch.cat(logits))


def test_two_networks_in_two_threads(tmp_path: Path) -> None:
    """The original keeps the intermediate results of all networks of a process in one place."""
    nets = [load(VIT, tmp_path), load(VIT_RN50X16, tmp_path)]
    x = image((64, 96))
    start = Barrier(len(nets))

    @torch.no_grad()
    def logits(net: LSegNet, *, together: bool) -> list[Tensor]:
        text = net.encode_text(LABELS)
        if together:
            start.wait(timeout=PATIENCE)
        return [net(x, text) for _ in range(8)]

    alone = [logits(net, together=False) for net in nets]
    with ThreadPoolExecutor(len(nets)) as pool:
        both = list(pool.map(lambda net: logits(net, together=True), nets))
    # Two networks at once may get fewer threads each, and sums over fewer threads round differently.
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-4)


def test_a_copy_and_a_second_backward(tmp_path: Path) -> None:
    """The original can do neither."""
    net = load(VIT, tmp_path)
    x, text = image((64, 96)), net.encode_text(LABELS)
    twin = copy.deepcopy(net)
    torch.testing.assert_close(twin(x, text), net(x, text), rtol=0, atol=0)
    for _ in range(2):
        twin(x, text).square().mean().backward()
    assert isinstance(twin.encoder, VitEncoder)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in twin.encoder.blocks.parameters())
    assert all(p.grad is None for p in [*net.parameters(), *twin.text_encoder.parameters()])
