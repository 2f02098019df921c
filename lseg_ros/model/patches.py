"""Replaces the decoder of networks whose patches are the pixels' vectors already."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchMap(nn.Module):
    """Enlarges the map of patches by 2. It has the interface of `FusionDecoder`, with identities for the learned maps.

    The centers of the outermost enlarged cells lie up to a quarter of a patch inside the image's borders. All later
    steps assume that they lie on the borders. So masks are shifted by up to that much at the borders, and not at all in
    the middle.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head, self.out_conv = _identity(channels), _identity(channels)

    @property
    def finest(self) -> "PatchMap":
        """This module, because there is only one level."""
        return self

    @property
    def linear(self) -> list[nn.Conv2d]:
        """The identities that follow `refine`."""
        return [self.out_conv, self.head]

    def refine(self, pyramid: list[Tensor]) -> Tensor:
        """Returns the only map."""
        return pyramid[0]

    def features(self, pyramid: list[Tensor]) -> Tensor:
        """Maps [B,C,h,w] to [B,C,2*h,2*w]."""
        return self.enlarge(pyramid[0])

    def enlarge(self, x: Tensor) -> Tensor:
        """Maps [B,C,h,w] to [B,C,2*h,2*w]."""
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Maps [B,C,h,w] to [B,C,2*h,2*w]."""
        return self.enlarge(pyramid[0])


def _identity(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(channels)[:, :, None, None])
    return conv.requires_grad_(False)
