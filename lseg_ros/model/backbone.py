"""Image encoders: an image in, feature maps at several depths out, finest first."""

from typing import Any, cast

import timm
from torch import Tensor, nn

from lseg_ros.model.variants import CnnBackbone


class CnnEncoder(nn.Module):
    """A timm CNN as a feature pyramid; weights are not downloaded."""

    def __init__(self, config: CnnBackbone) -> None:
        super().__init__()
        self.cnn = timm.create_model(
            config.name,
            features_only=True,
            pretrained=False,
            out_indices=config.taps,
            output_stride=config.output_stride,
            pad_type=config.pad_type,
        )
        self.channels: list[int] = cast(Any, self.cnn).feature_info.channels()

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B,3,H,W] normalised -> one [B,C_i,H/s_i,W/s_i] for each tap."""
        return self.cnn(images)
