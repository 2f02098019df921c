"""The image side of a network, with done to it what makes it fast on a GPU."""

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
    """Stands in for `FusedEncoderDecoder`: BatchNorm folded, channels last, each part in a type of its own.

    Weights have that type from the start, so that nothing is cast for each image, as autocast does. PyTorch computes
    LayerNorm and softmax in float32 inside, whatever the type of their input.
    """

    def __init__(self, fused: FusedEncoderDecoder, encoder: torch.dtype, decoder: torch.dtype) -> None:
        """
        Args:
            fused: in eval mode; it stays as it is. In float32, what needs no change is shared with it.
            encoder: type of the backbone.
            decoder: type of what follows.
        """
        super().__init__()
        self.types = encoder, decoder
        # Modules are copied so that they can be changed; the weights in them are not, until they are cast.
        whole = copy.deepcopy(fused, {id(tensor): tensor for tensor in chain(fused.parameters(), fused.buffers())})
        with torch.no_grad():
            fold_batch_norm(whole)
            self.encoder = _typed(whole.encoder, encoder)
            self.decoder = cast(FusionDecoder, _typed(whole.decoder, decoder))
            self.head = _typed(whole.head, decoder)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """[B,3,H,W] float32 normalised, H and W multiples of 32 -> [B,R,h,w] float32 unit vectors."""
        check_size(images.shape[-2], images.shape[-1])
        encoder, decoder = self.types
        pyramid = [level.to(decoder) for level in self.encoder(images.to(encoder))]
        x = self.decoder.finest.enlarge(self.head(self.decoder.refine(pyramid)))
        return functional.normalize(x.float(), dim=1)


def _typed(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy whose floating point weights have a type, channels last; what has it already is shared."""
    weights: dict[int, Tensor] = {}
    for tensor in chain(module.parameters(), module.buffers()):
        new = tensor.detach()
        if new.is_floating_point():
            new = new.to(dtype)
        if new.dim() == 4:
            new = new.contiguous(memory_format=torch.channels_last)
        weights[id(tensor)] = nn.Parameter(new, requires_grad=False) if isinstance(tensor, nn.Parameter) else new
    return copy.deepcopy(module, weights)
