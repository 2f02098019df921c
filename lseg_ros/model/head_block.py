"""Optional blocks that let neighbouring logits speak to one another; they know nothing of what the labels are."""

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
    """One 3x3 kernel, shared by all labels and applied `depth` times, with activations between."""

    def __init__(self, config: HeadBlock) -> None:
        super().__init__()
        if config.kind not in ("bottleneck", "depthwise"):
            raise ValueError(f"head block {config.kind!r} is not known; use bottleneck or depthwise")
        if config.activation not in _ACTIVATIONS:
            raise ValueError(f"activation {config.activation!r} is not known; use {', '.join(_ACTIVATIONS)}")
        self.config = config
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, logits: Tensor) -> Tensor:
        """[B,N,h,w] -> [B,N,h,w]."""
        for step in range(self.config.depth):
            # The kernel meets each label's map by itself: labels become a batch.
            x = self.conv(logits.flatten(0, 1)[:, None]).view_as(logits)
            if self.config.kind == "bottleneck":
                x = x + logits.amax(1, keepdim=True)
            logits = x if step == self.config.depth - 1 else _ACTIVATIONS[self.config.activation](x)
        return logits
