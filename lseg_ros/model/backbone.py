"""Image encoders. They turn an image into feature maps of several depths, finest first."""

from functools import partial
from typing import Any, cast

import timm
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.variants import CnnBackbone, VitBackbone


class CnnEncoder(nn.Module):
    """A CNN of timm as a feature pyramid. Its weights are random; nothing is downloaded.

    Attributes:
        cnn: The network.
        second: The stages that a second network has of its own, or None.
        channels: Channels of each map that `forward` returns.
    """

    def __init__(self, config: CnnBackbone) -> None:
        super().__init__()
        self.cnn = network(config)
        self.second_from = config.second_from
        self.second: nn.Module | None = None
        if config.second_from:
            self.second = stages(network(config, 32))[config.second_from :]
        info = cast(Any, self.cnn).feature_info
        self.channels: list[int] = info.channels()
        self.taps: list[int] = []  # places in `stages`, where more than the plain maps is wanted
        self.widened: list[int] = []
        if config.widened or self.second is not None:
            places = [entry["stage"] - 1 for entry in info.info]
            self.taps = [places[tap] for tap in config.taps]
            self.widened = [places[tap] for tap in config.widened]
            self.channels += [stages(self.cnn)[stage][-1].conv_pwl.in_channels for stage in self.widened]
        if self.second is not None:
            self.channels.append(cast(Any, self.second)[-1][-1].conv_pwl.out_channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encodes normalized [B,3,H,W] images.

        Returns:
            [B,C_i,H/s_i,W/s_i] for each tap, then one map for each of `widened`, then that of the second network.
        """
        if not self.taps:
            return self.cnn(images)
        plain, wide = {}, {}
        x = stem(self.cnn, images)
        second = []
        for stage, blocks in enumerate(stages(self.cnn)):
            if self.second is not None and stage == self.second_from:
                second = [self.second(x)]
            if stage in self.widened:
                x = blocks[:-1](x)
                wide[stage] = _widen(blocks[-1], x)
                x = _narrow(blocks[-1], wide[stage], x)
            else:
                x = blocks(x)
            plain[stage] = x
        return [*(plain[stage] for stage in self.taps), *(wide[stage] for stage in self.widened), *second]


def network(config: CnnBackbone, output_stride: int | None = None) -> nn.Module:
    """Builds timm's network as a feature pyramid with random weights.

    Args:
        config: Describes it.
        output_stride: If given, it replaces that of `config`.

    Raises:
        ValueError: timm has no such network.
    """
    if not timm.is_model(config.name):  # timm would also accept an address and download from it
        raise ValueError(f"timm has no model {config.name!r}")
    padding: dict[str, Any] = {} if config.pad_type is None else {"pad_type": config.pad_type}
    return timm.create_model(
        config.name,
        features_only=True,
        pretrained=False,
        out_indices=config.taps,
        output_stride=output_stride or config.output_stride,
        **padding,
    )


def stem(cnn: nn.Module, images: Tensor) -> Tensor:
    """Runs what comes before the first stage of a network of inverted residual blocks."""
    parts = cast(Any, cnn)
    return parts.bn1(parts.conv_stem(images))


def stages(cnn: nn.Module) -> Any:
    """Returns the stages of a network of inverted residual blocks, each a sequence of blocks."""
    return cast(Any, cnn).blocks


def _widen(block: Any, x: Tensor) -> Tensor:
    """Runs timm's InvertedResidual up to its last convolution, which makes the map narrow again."""
    return block.se(block.aa(block.bn2(block.conv_dw(block.bn1(block.conv_pw(x))))))


def _narrow(block: Any, inner: Tensor, x: Tensor) -> Tensor:
    """Runs the rest of the block that got `x`."""
    y = block.bn3(block.conv_pwl(inner))
    return block.drop_path(y) + x if block.has_skip else y


class Reassemble(nn.Module):
    """Turns the tokens of one depth into a map of one level of the pyramid."""

    def __init__(self, width: int, channels: int, scale: float) -> None:
        """Builds the layers with random weights.

        Args:
            width: Width of the tokens.
            channels: Channels of the map.
            scale: Size of the map relative to the grid of the patches.
        """
        super().__init__()
        self.readout = nn.Linear(2 * width, width)
        self.project = nn.Conv2d(width, channels, 1)
        self.resample: nn.Module | None = None
        if scale > 1:
            self.resample = nn.ConvTranspose2d(channels, channels, int(scale), stride=int(scale))
        elif scale < 1:
            self.resample = nn.Conv2d(channels, channels, 3, stride=round(1 / scale), padding=1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Turns [B,1+h*w,width] tokens, the class token first, into [B,channels,scale*h,scale*w]."""
        # The readout layer takes each patch token joined with the class token. The class token's part of the product
        # is the same for all patches, so it is computed once.
        of_patch, of_class = self.readout.weight.chunk(2, dim=1)
        x = functional.linear(tokens[:, 1:], of_patch) + functional.linear(tokens[:, :1], of_class, self.readout.bias)
        x = self.project(functional.gelu(x).transpose(1, 2).unflatten(2, grid))
        return x if self.resample is None else self.resample(x)


class VitEncoder(nn.Module):
    """A vision transformer, and the reassembly of its tokens into maps as in DPT. The blocks are timm's."""

    def __init__(self, config: VitBackbone) -> None:
        super().__init__()
        if not config.taps or not max(config.taps) < config.depth <= 256:
            raise ValueError(f"taps {config.taps} of {config.depth} blocks; taps are blocks, and there are at most 256")
        self.config = config
        self.channels = list(config.channels)
        self.patch_embed = nn.Conv2d(3, config.width, config.patch, stride=config.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + config.grid**2, config.width) * 0.02)
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, qkv_bias=True, norm_layer=norm) for _ in range(max(config.taps) + 1)
        )
        self.reassemble = nn.ModuleList(
            Reassemble(config.width, channels, scale)
            for channels, scale in zip(config.channels, config.scale, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encodes normalized [B,3,H,W] images as one map for each tap, finest first."""
        tokens, grid = self.tokens(images)
        return [part(x, grid) for part, x in zip(self.reassemble, tokens, strict=True)]

    def tokens(self, images: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Runs the transformer.

        Args:
            images: [B,3,H,W], normalized.

        Returns:
            [B,1+h*w,width] after each tapped block, the class token first, and the grid (h, w) of the patches.
        """
        x = self.patch_embed(images)
        grid = (x.shape[2], x.shape[3])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + resize_positions(self.pos_embed, self.config.grid, grid)
        tapped = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.config.taps:
                tapped.append(x)
        return tapped, grid


def resize_positions(positions: Tensor, stored: int, grid: tuple[int, int]) -> Tensor:
    """Resizes position embeddings bilinearly, without aligned corners or antialias, as the original LSeg does.

    timm's own function resizes bicubically with antialias, which gives other numbers.

    Args:
        positions: [1,1+stored**2,D], the class token's first.
        stored: Side of the square grid that they are for.
        grid: (h, w) of the new grid.

    Returns:
        [1,1+h*w,D].
    """
    if grid == (stored, stored):
        return positions
    patches = positions[:, 1:].unflatten(1, (stored, stored)).permute(0, 3, 1, 2)
    patches = functional.interpolate(patches, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([positions[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)
