"""What stands in for a decoder where an encoder's patches are the pixels' vectors already."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class PatchMap(nn.Module):
    """Patches, enlarged twice; `FusionDecoder`'s interface, with the identity where that has learned maps.

    The enlarged cells' centers lie up to a quarter of a patch inside of the image's borders, where everything behind it
    takes them to lie on the borders: masks are off by up to that much there, and right in the middle.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head, self.out_conv = _identity(channels), _identity(channels)

    @property
    def finest(self) -> "PatchMap":
        """Itself: there is one level."""
        return self

    @property
    def linear(self) -> list[nn.Conv2d]:
        """The identities that follow `refine`."""
        return [self.out_conv, self.head]

    def refine(self, pyramid: list[Tensor]) -> Tensor:
        """The only map."""
        return pyramid[0]

    def features(self, pyramid: list[Tensor]) -> Tensor:
        """[B,C,h,w] -> [B,C,2*h,2*w]."""
        return self.enlarge(pyramid[0])

    def enlarge(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C,2*h,2*w]."""
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """[B,C,h,w] -> [B,C,2*h,2*w]."""
        return self.enlarge(pyramid[0])


def _identity(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(channels)[:, :, None, None])
    return conv.requires_grad_(False)
