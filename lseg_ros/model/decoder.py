"""The fusion decoder between the image encoder and the embedding head, after DPT (Ranftl et al., ICCV 2021).

Shapes: B images, F decoder features, h x w the size of the current map.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.variants import Decoder


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes maps bilinearly with aligned corners, as LSeg does everywhere inside the network.

    Args:
        x: [B,C,h,w].
        size: (H, W) of the result.

    Returns:
        [B,C,H,W]. `x` itself where it has that size already.
    """
    if tuple(x.shape[-2:]) == size:
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _conv3x3(features: int, *, separable: bool) -> nn.Module:
    if not separable:
        return nn.Conv2d(features, features, 3, padding=1, bias=False)
    return nn.Sequential(
        nn.Conv2d(features, features, 3, padding=1, groups=features, bias=False),
        nn.Conv2d(features, features, 1, bias=False),
    )


class ResidualConvUnit(nn.Module):
    """Adds (ReLU, convolution, BatchNorm) twice to its input.

    The sum needs the input before its activation, so no ReLU here may work in place.
    """

    def __init__(self, features: int, *, separable: bool) -> None:
        super().__init__()
        self.conv1 = _conv3x3(features, separable=separable)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = _conv3x3(features, separable=separable)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B,F,h,w] to [B,F,h,w]."""
        y = self.bn1(self.conv1(functional.relu(x)))
        return x + self.bn2(self.conv2(functional.relu(y)))


class FusionBlock(nn.Module):
    """Adds a finer level to the result of the coarser ones, refines the sum and enlarges it."""

    def __init__(self, features: int, *, scale: int, separable: bool, has_skip: bool) -> None:
        """Builds the layers with random weights.

        Args:
            features: Channels.
            scale: Factor by which the result is enlarged.
            separable: Whether the convolutions are depthwise-separable.
            has_skip: Whether a finer level is added.
        """
        super().__init__()
        self.scale = scale
        self.skip_unit = ResidualConvUnit(features, separable=separable) if has_skip else None
        self.unit = ResidualConvUnit(features, separable=separable)
        self.out_conv = nn.Conv2d(features, features, 1)

    def refine(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Adds `skip`, of the shape of `x`, and refines the sum: [B,F,h,w] to [B,F,h,w]."""
        if self.skip_unit is not None and skip is not None:
            x = x + self.skip_unit(skip)
        return self.unit(x)

    def enlarge(self, x: Tensor) -> Tensor:
        """Enlarges [B,C,h,w] to [B,C,scale*h,scale*w]."""
        if self.scale == 1:
            return x
        # A factor instead of a size lets the ONNX file take images of any size. Aligned corners give the same numbers.
        return functional.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=True)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Fuses `x` and `skip`, both [B,F,h,w], into [B,F,scale*h,scale*w]."""
        # The original enlarges first and applies the 1x1 convolution afterwards. Both are linear, and the weights of
        # the interpolation sum to one, so the convolution may come first, where there are fewer pixels.
        return self.enlarge(self.out_conv(self.refine(x, skip)))


class FusionDecoder(nn.Module):
    """Turns a feature pyramid into one map of embeddings, which are not normalized yet."""

    def __init__(self, config: Decoder, channels: list[int], embed_dim: int) -> None:
        """Builds the layers with random weights.

        Args:
            config: The decoder's numbers.
            channels: Channels of each level of the pyramid, finest first.
            embed_dim: Channels of the embedding.
        """
        super().__init__()
        features, coarsest = config.features, len(channels) - 1
        self.project = nn.ModuleList(nn.Conv2d(c, features, 3, padding=1, bias=False) for c in channels)
        self.fuse = nn.ModuleList(
            FusionBlock(features, scale=scale, separable=config.separable, has_skip=level != coarsest)
            for level, scale in enumerate(config.upsample)
        )
        self.head = nn.Conv2d(features, embed_dim, 1)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Decodes one [B,C_i,h_i,w_i] for each level, finest first, into [B,embed_dim,h,w]."""
        return self.head(self.features(pyramid))

    def features(self, pyramid: list[Tensor]) -> Tensor:
        """Does the same as forward, but for the head -> [B,features,h,w]."""
        return self.enlarge(self.finest.out_conv(self.refine(pyramid)))

    def enlarge(self, x: Tensor) -> Tensor:
        """Brings a map of the size of `refine` to the size of the embedding."""
        return self.finest.enlarge(x)

    @property
    def linear(self) -> list[nn.Conv2d]:
        """The 1x1 convolutions that follow `refine`, in their order."""
        return [self.finest.out_conv, self.head]

    @property
    def finest(self) -> FusionBlock:
        """The block of the finest level, which runs last."""
        return cast(FusionBlock, self.fuse[0])

    def refine(self, pyramid: list[Tensor]) -> Tensor:
        """Runs `forward` up to the finest level's refinement.

        Left out are the last enlarging and the 1x1 convolutions on both sides of it.

        Args:
            pyramid: One [B,C_i,h_i,w_i] for each level, finest first.

        Returns:
            [B,features,h_0,w_0].
        """
        levels = [project(x) for project, x in zip(self.project, pyramid, strict=True)]
        if len(levels) == 1:
            return self.finest.refine(levels[0])
        x = self.fuse[-1](levels[-1])
        for block, skip in zip(self.fuse[-2:0:-1], levels[-2:0:-1], strict=True):
            x = block(x, skip)
        return self.finest.refine(x, levels[0])
