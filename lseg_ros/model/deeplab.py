"""The decoder of DeepLabV3+ (Chen et al., ECCV 2018), with an embedding head in place of its classifier.

Shapes: B images, h x w the size of the finest map, at stride 4.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.decoder import ResidualConvUnit
from lseg_ros.model.variants import DeepLab


class Context(nn.Module):
    """DeepLab's pyramid pooling in its smallest form: each pixel of the deepest map, beside the mean over the image."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.aspp0 = nn.Conv2d(channels, width, 1)
        self.image_pooling = nn.Conv2d(channels, width, 1)
        self.concat_projection = nn.Conv2d(2 * width, width, 1)

    def forward(self, deep: Tensor) -> Tensor:
        """Maps [B,channels,h,w] to [B,width,h,w]."""
        relu = functional.relu
        pooled = relu(self.image_pooling(deep.mean((2, 3), keepdim=True)))
        local = relu(self.aspp0(deep))
        return relu(self.concat_projection(torch.cat([pooled.expand_as(local), local], dim=1)))


class Evidence(nn.Module):
    """What a DeepLab network for a few classes adds to features of another network.

    It adds evidence for its classes, and a linear map of what it sees.
    """

    def __init__(self, channels: int, config: DeepLab) -> None:
        """Builds the layers with random weights. At first they add nothing.

        Args:
            channels: Channels of the network's deepest map.
            config: The widths.

        Raises:
            ValueError: `config` has no classes.
        """
        super().__init__()
        if config.second_classes < 1:
            raise ValueError(f"second_classes is {config.second_classes}; with a second network it is 1 or more")
        self.context = Context(channels, config.width)
        self.classifier = nn.Conv2d(config.width, config.second_classes, 1)  # each class against none of them
        self.project = nn.Conv2d(config.second_classes, config.features, 1, bias=False)
        self.linear = nn.Conv2d(channels, config.features, 1, bias=False)
        for layer in (self.project, self.linear):
            nn.init.zeros_(layer.weight)

    def forward(self, deep: Tensor) -> Tensor:
        """Maps [B,channels,h,w] to [B,features,4h,4w]."""
        evidence = functional.relu(_enlarged(self.classifier(self.context(deep)), 4))
        return self.project(evidence) + _enlarged(self.linear(deep), 4)


class DeepLabDecoder(nn.Module):
    """Turns maps of a CNN into one map of embeddings, which are not normalized yet.

    The published decoder works at stride 4 and takes as long as the image encoder before it. This one works at stride 8
    with the published weights. It gives nearly the same labels in a quarter of the time. A residual unit with fewer
    channels then adds details at stride 4.

    A fourth map adds to the features at stride 8. It comes from a second network, which was trained for other classes.
    Evidence for one of these classes adds to them. Evidence against all of them adds nothing, because that network
    overlooks small things.
    """

    def __init__(self, config: DeepLab, channels: list[int], embed_dim: int) -> None:
        """Builds the decoder with random weights. At first the residual unit adds nothing.

        Args:
            config: The widths.
            channels: Channels of the three or four maps, in the order of `forward`.
            embed_dim: Channels of the embedding.
        """
        super().__init__()
        fine, deep, wide, *second = channels
        width, both = config.width, config.width + config.skip
        self.context = Context(deep, width)
        self.feature_projection0 = nn.Conv2d(wide, config.skip, 1)
        self.decoder_conv0_depthwise = nn.Conv2d(both, both, 3, padding=1, groups=both)
        self.decoder_conv0_pointwise = nn.Conv2d(both, width, 1)
        self.decoder_conv1_depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.decoder_conv1_pointwise = nn.Conv2d(width, width, 1)
        self.reduce = nn.Conv2d(width, config.features, 1)
        self.project = nn.Conv2d(fine, config.features, 1)
        self.unit = ResidualConvUnit(config.features, separable=True)
        self.head = nn.Conv2d(config.features, embed_dim, 1)
        self.evidence = Evidence(second[0], config) if second else None
        # So the pretrained parts before it have the same effect at first as in their own network.
        for weight in (self.project.weight, self.project.bias, self.unit.bn2.weight):
            assert weight is not None
            nn.init.zeros_(weight)

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Maps [B,C,h,w], [B,C',h/4,w/4], [B,C'',h,w] and, if used, [B,C',h/8,w/8] to [B,embed_dim,h,w]."""
        return self.head(self.features(pyramid))

    def features(self, pyramid: list[Tensor]) -> Tensor:
        """Runs `forward` without the head, to [B,features,h,w]."""
        return self.refine(pyramid)

    def refine(self, pyramid: list[Tensor]) -> Tensor:
        """Runs all that is not linear, to [B,features,h,w]."""
        fine, deep, wide, *second = pyramid
        x = self.reduce(self.classified(deep, wide))
        if self.evidence is not None:
            x = x + self.evidence(second[0])
        return self.unit(_enlarged(x, 2) + self.project(fine))

    def enlarge(self, x: Tensor) -> Tensor:
        """Returns `x`: the embedding has the size of `refine`."""
        return x

    @property
    def linear(self) -> list[nn.Conv2d]:
        """The 1x1 convolutions that follow `refine`."""
        return [self.head]

    def classified(self, deep: Tensor, wide: Tensor) -> Tensor:
        """Computes the features that the published network classifies.

        Maps [B,C',h/4,w/4] and [B,C'',h,w] to [B,width,h/2,w/2].
        """
        relu = functional.relu
        skip = relu(self.feature_projection0(functional.avg_pool2d(wide, 2)))
        x = torch.cat([_enlarged(self.context(deep), 2), skip], dim=1)
        x = relu(self.decoder_conv0_pointwise(relu(self.decoder_conv0_depthwise(x))))
        return relu(self.decoder_conv1_pointwise(relu(self.decoder_conv1_depthwise(x))))


def _enlarged(x: Tensor, factor: int) -> Tensor:
    """Enlarges [B,C,h,w]. Corners are not aligned, so that the shift is the same in the whole image."""
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
