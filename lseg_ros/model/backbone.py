"""Image encoders: an image in, feature maps at several depths out, finest first."""

from functools import partial
from typing import Any, cast

import timm
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.variants import CnnBackbone, VitBackbone


class CnnEncoder(nn.Module):
    """A timm CNN as a feature pyramid; weights are not downloaded."""

    def __init__(self, config: CnnBackbone) -> None:
        super().__init__()
        if not timm.is_model(config.name):  # timm would also take addresses, and fetch what is there
            raise ValueError(f"timm has no model {config.name!r}")
        padding: dict[str, Any] = {} if config.pad_type is None else {"pad_type": config.pad_type}
        self.cnn: nn.Module = timm.create_model(
            config.name,
            features_only=True,
            pretrained=False,
            out_indices=config.taps,
            output_stride=config.output_stride,
            **padding,
        )
        self.channels: list[int] = cast(Any, self.cnn).feature_info.channels()

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B,3,H,W] normalised -> one [B,C_i,H/s_i,W/s_i] for each tap."""
        return self.cnn(images)


class Reassemble(nn.Module):
    """Tokens of one depth -> a map at one level of the pyramid."""

    def __init__(self, width: int, channels: int, scale: float) -> None:
        super().__init__()
        self.readout = nn.Linear(2 * width, width)
        self.project = nn.Conv2d(width, channels, 1)
        self.resample: nn.Module | None = None
        if scale > 1:
            self.resample = nn.ConvTranspose2d(channels, channels, int(scale), stride=int(scale))
        elif scale < 1:
            self.resample = nn.Conv2d(channels, channels, 3, stride=round(1 / scale), padding=1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B,1+h*w,width], the class token first -> [B,channels,scale*h,scale*w]."""
        # Every patch reads the class token: the readout is of both, one behind the other. What the class token adds is
        # the same for all, so it is computed once.
        of_patch, of_class = self.readout.weight.chunk(2, dim=1)
        x = functional.linear(tokens[:, 1:], of_patch) + functional.linear(tokens[:, :1], of_class, self.readout.bias)
        x = self.project(functional.gelu(x).transpose(1, 2).unflatten(2, grid))
        return x if self.resample is None else self.resample(x)


class VitEncoder(nn.Module):
    """A vision transformer and the reassembly of its tokens, as in DPT; blocks are timm's."""

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
        """[B,3,H,W] normalised -> one map for each tap, finest first."""
        tokens, grid = self.tokens(images)
        return [part(x, grid) for part, x in zip(self.reassemble, tokens, strict=True)]

    def tokens(self, images: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """[B,3,H,W] -> ([B,1+h*w,width] after each tapped block, class token first; (h, w))."""
        x = self.patch_embed(images)
        grid = (x.shape[2], x.shape[3])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = x + resize_positions(self.pos_embed, self.config.grid, grid)
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.config.taps:
                found.append(x)
        return found, grid


def resize_positions(positions: Tensor, stored: int, grid: tuple[int, int]) -> Tensor:
    """[1,1+stored**2,D] -> [1,1+h*w,D]: bilinear, corners not aligned, no antialias, as in the original LSeg.

    timm resizes bicubic with antialias, which gives other numbers.
    """
    if grid == (stored, stored):
        return positions
    patches = positions[:, 1:].unflatten(1, (stored, stored)).permute(0, 3, 1, 2)
    patches = functional.interpolate(patches, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([positions[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)
