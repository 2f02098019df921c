"""Optional blocks that smooth each label's logits over neighboring pixels. They work for any labels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.variants import HeadBlock

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "lrelu": functional.leaky_relu,
    "tanh": torch.tanh,
}


class LogitBlock(nn.Module):
    """One 3x3 kernel for all labels, applied `depth` times with activations in between."""

    def __init__(self, config: HeadBlock) -> None:
        super().__init__()
        if config.kind not in ("bottleneck", "depthwise"):
            raise ValueError(f"head block {config.kind!r} is not known; use bottleneck or depthwise")
        if config.activation not in _ACTIVATIONS:
            raise ValueError(f"activation {config.activation!r} is not known; use {', '.join(_ACTIVATIONS)}")
        self.config = config
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, logits: Tensor) -> Tensor:
        """Maps [B,N,h,w] to [B,N,h,w]."""
        for step in range(self.config.depth):
            # Each label's map is filtered by itself, so labels become part of the batch.
            x = self.conv(logits.flatten(0, 1)[:, None]).view_as(logits)
            if self.config.kind == "bottleneck":
                x = x + logits.amax(1, keepdim=True)
            logits = x if step == self.config.depth - 1 else _ACTIVATIONS[self.config.activation](x)
        return logits
