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
        half_size: A second one for the image at half its size, or None.
        channels: Channels of each map that `forward` returns.
    """

    def __init__(self, config: CnnBackbone) -> None:
        super().__init__()
        self.cnn = _pyramid(config, config.taps)
        self.half_size = _pyramid(config, config.taps[-1:]) if config.half_size else None
        parts = cast(Any, self.cnn)
        self.channels: list[int] = parts.feature_info.channels()
        self.taps: list[int] = []  # places in `blocks`, where widened maps are wanted
        self.widened: list[int] = []
        if config.widened:
            stages = [info["stage"] - 1 for info in parts.feature_info.info]
            self.taps = [stages[tap] for tap in config.taps]
            self.widened = [stages[tap] for tap in config.widened]
            self.channels += [parts.blocks[stage][-1].conv_pwl.in_channels for stage in self.widened]
        if self.half_size is not None:
            self.channels += cast(Any, self.half_size).feature_info.channels()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encodes normalized [B,3,H,W] images.

        Returns:
            [B,C_i,H/s_i,W/s_i] for each tap, then one map for each of `widened`, then that of the image at half its
            size.
        """
        maps = self._maps(images)
        return maps if self.half_size is None else [*maps, *self.half_size(functional.avg_pool2d(images, 2))]

    def _maps(self, images: Tensor) -> list[Tensor]:
        if not self.widened:
            return self.cnn(images)
        cnn = cast(Any, self.cnn)
        plain, wide = {}, {}
        x = cnn.bn1(cnn.conv_stem(images))
        for stage, blocks in enumerate(cnn.blocks):
            if stage in self.widened:
                x = blocks[:-1](x)
                wide[stage] = _widen(blocks[-1], x)
                x = _narrow(blocks[-1], wide[stage], x)
            else:
                x = blocks(x)
            plain[stage] = x
        return [*(plain[stage] for stage in self.taps), *(wide[stage] for stage in self.widened)]


def _pyramid(config: CnnBackbone, taps: tuple[int, ...]) -> nn.Module:
    if not timm.is_model(config.name):  # timm would also accept an address and download from it
        raise ValueError(f"timm has no model {config.name!r}")
    padding: dict[str, Any] = {} if config.pad_type is None else {"pad_type": config.pad_type}
    return timm.create_model(
        config.name,
        features_only=True,
        pretrained=False,
        out_indices=taps,
        output_stride=config.output_stride,
        **padding,
    )


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
