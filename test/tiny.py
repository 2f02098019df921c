"""A small network with seeded random weights, and a text encoder that needs no files."""

import zlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import TextEncoder
from lseg_ros.model.variants import CnnBackbone, Decoder, DeepLab, Variant

TINY = Variant(
    name="tiny",
    backbone=CnnBackbone("mobilenetv2_035", taps=(1, 2, 3, 4), output_stride=16, pad_type="same"),
    decoder=Decoder(features=8, upsample=(1, 2, 2, 1), separable=True),
    text="none",
    embed_dim=16,
    mean=(0.5, 0.4, 0.3),
    std=(0.5, 0.25, 0.125),
    input_size=96,
)

BACKBONE = CnnBackbone("mobilenetv2_035", taps=(1, 4), output_stride=16, pad_type="same", widened=(1,))
TINY_DEEPLAB = replace(TINY, name="tiny_deeplab", backbone=BACKBONE, decoder=DeepLab(width=12, skip=6, features=8))
TINY_SECOND = replace(
    TINY_DEEPLAB,
    backbone=replace(BACKBONE, second_from=3),
    decoder=DeepLab(width=12, skip=6, features=8, second_classes=3),
)


class HashText(TextEncoder):
    """A text encoder with a fixed random unit vector for each phrase."""

    external = True
    dim = 16

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def check(self, phrase: str) -> None:
        if len(phrase) > 77:
            raise ValueError(f"the text {phrase[:10]!r} is too long")

    def forward(self, phrases: Sequence[str]) -> Tensor:
        self.encoded += phrases
        rows = []
        for phrase in phrases:
            generator = torch.Generator().manual_seed(zlib.crc32(phrase.encode()))
            # One by one, because the last bits of a batch depend on its size and on the processor.
            rows.append(functional.normalize(torch.randn(self.dim, generator=generator), dim=0))
        return torch.stack(rows)


def tiny_net(seed: int = 0) -> LSegNet:
    """Returns the network in eval mode, with BatchNorm statistics that have an effect and pixels that differ."""
    torch.manual_seed(seed)
    net = LSegNet(TINY, HashText())
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.weight.data) * 0.1
            module.running_var = torch.rand_like(module.weight.data) + 0.5
    net.eval()
    with torch.no_grad():  # with random weights all pixels are alike; this makes them differ
        noise = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        net.decoder.head.bias -= net.decoder(net.encoder(noise)).mean((0, 2, 3))
    return net


def without_counts(net: nn.Module) -> dict[str, Tensor]:
    """Returns a network's tensors as converted files have them: without how often BatchNorm saw a batch."""
    return {key: tensor for key, tensor in net.state_dict().items() if not key.endswith("num_batches_tracked")}
