"""The image side of a network, changed to run fast on a GPU."""

import copy
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.decoder import FusionDecoder
from lseg_ros.model.folding import fold_batch_norm
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.net import check_size


class DeployedEncoderDecoder(nn.Module):
    """Replaces `FusedEncoderDecoder` on a GPU: folded BatchNorm, memory in channels-last order, a type for each part.

    The weights have that type from the start, so nothing is cast for each image, as autocast does. PyTorch computes
    LayerNorm and softmax in float32 inside, whatever the type of their input.

    Attributes:
        types: Types of the backbone and of all that follows.
    """

    def __init__(self, fused: FusedEncoderDecoder, encoder: torch.dtype, decoder: torch.dtype) -> None:
        """Copies and converts an encoder.

        Args:
            fused: The encoder in eval mode. It does not change. Weights that need no conversion are shared with it.
            encoder: Type of the backbone.
            decoder: Type of all that follows.
        """
        super().__init__()
        self.types, self.size_step = (encoder, decoder), fused.size_step
        # Modules are copied, so that they can be changed. Their weights are copied only when they are cast.
        whole = copy.deepcopy(fused, {id(tensor): tensor for tensor in chain(fused.parameters(), fused.buffers())})
        with torch.no_grad():
            fold_batch_norm(whole)
            self.encoder = _typed(whole.encoder, encoder)
            self.decoder = cast(FusionDecoder, _typed(whole.decoder, decoder))
            self.head = _typed(whole.head, decoder)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalized [B,3,H,W] float32, H and W multiples of `size_step`, to [B,R,h,w] float32 unit vectors."""
        check_size(images.shape[-2], images.shape[-1], self.size_step)
        encoder, decoder = self.types
        pyramid = [level.to(decoder) for level in self.encoder(images.to(encoder))]
        x = self.decoder.finest.enlarge(self.head(self.decoder.refine(pyramid)))
        return functional.normalize(x.float(), dim=1)


def _typed(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copies a module with weights of a type, channels last. Weights that have it already are shared."""
    weights: dict[int, Tensor] = {}
    for tensor in chain(module.parameters(), module.buffers()):
        new = tensor.detach()
        if new.is_floating_point():
            new = new.to(dtype)
        if new.dim() == 4:
            new = new.contiguous(memory_format=torch.channels_last)
        weights[id(tensor)] = nn.Parameter(new, requires_grad=False) if isinstance(tensor, nn.Parameter) else new
    return copy.deepcopy(module, weights)
