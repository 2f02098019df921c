"""The image side of a network in the form that runs. `lseg export` writes it, and every backend replaces it."""

import copy
from functools import reduce
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.backbone import Reassemble, VitEncoder
from lseg_ros.model.net import LSegNet, check_size, encode_pyramid


class FusedEncoderDecoder(nn.Module):
    """Maps an image to unit vectors that have fewer dimensions than the text's, with the same cosines.

    The decoder ends with two 1x1 convolutions and an enlarging. All three are linear. So one convolution before the
    enlarging replaces the two. It maps F features and a constant 1 to D numbers, which lie in a space of at most F + 1
    dimensions. Its matrix is Q R, with orthonormal columns in Q. R alone gives the coordinates of a pixel in that
    space. Lengths and products of pixels are the same there, and a text's product with a pixel is that of text @ Q with
    the coordinates.

    In a vision transformer, the projection of the tokens, their enlarging and the decoder's first convolution are also
    linear. The last two become one convolution here, with a fifth of the multiplications.

    All other weights are shared with the network.

    Attributes:
        basis: [D,R] float32, the matrix Q.
        size_step: The variant's.
    """

    basis: Tensor

    def __init__(self, net: LSegNet) -> None:
        super().__init__()
        self.size_step = net.variant.size_step
        weights = {id(tensor): tensor for tensor in chain(net.parameters(), net.buffers())}
        self.encoder, self.decoder = copy.deepcopy(net.encoder, weights), copy.deepcopy(net.decoder, weights)
        with torch.no_grad():
            if isinstance(self.encoder, VitEncoder):
                for level, part in enumerate(self.encoder.reassemble):
                    _merge(cast(Reassemble, part), self.decoder.project, level)
            affine = reduce(torch.matmul, [_affine(conv) for conv in reversed(net.decoder.linear)])
            basis, coordinates = torch.linalg.qr(affine[:-1])
            # Libraries choose different signs. An exported encoder needs the same signs on every machine.
            signs = 1 - 2 * (coordinates.diagonal() < 0).to(basis.dtype)
            basis, coordinates = basis * signs, signs[:, None] * coordinates
            self.head = _conv1x1(coordinates)
        self.register_buffer("basis", basis.float())

    def forward(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """Encodes images.

        Args:
            images: [B,3,H,W] float32, normalized with the variant's mean and std. H and W are multiples of
                `size_step`.
            precision: Precision of the encoder, as for `LSegNet.encode_image`.

        Returns:
            [B,R,h,w] float32 unit vectors.

        Raises:
            ValueError: H or W is no multiple of `size_step`.
        """
        check_size(images.shape[-2], images.shape[-1], self.size_step)
        x = self.decoder.refine(encode_pyramid(self.encoder, images, precision))
        return functional.normalize(self.decoder.enlarge(self.head(x)).float(), dim=1)


def _merge(part: Reassemble, project: nn.ModuleList, level: int) -> None:
    """Merges a transposed convolution of `part` with the 3x3 convolution `project[level]` that follows it.

    The bias between the two does not apply beyond the border, where the second convolution sees zeros. So `part` gets
    an additional channel that is 1 everywhere, and the bias becomes a weight of this channel.
    """
    up, conv = part.resample, project[level]
    if not isinstance(up, nn.ConvTranspose2d):
        return
    assert isinstance(conv, nn.Conv2d) and up.bias is not None
    scale = int(up.stride[0])
    part.project, part.resample = _conv1x1(_affine(part.project)), None
    weight = torch.cat([up.weight, up.bias[None, :, None, None].expand(1, -1, scale, scale)])
    merged = nn.ConvTranspose2d(len(weight), conv.out_channels, scale + 2, scale, padding=1, bias=False)
    merged.weight.copy_(functional.conv2d(weight, conv.weight, padding=2))
    project[level] = merged


def _conv1x1(affine: Tensor) -> nn.Conv2d:
    """Converts [D,C + 1], with the bias in the last column, to a 1x1 convolution from C to D channels."""
    conv = nn.Conv2d(affine.shape[1] - 1, len(affine), 1)
    assert conv.bias is not None
    conv.weight.copy_(affine[:, :-1, None, None])
    conv.bias.copy_(affine[:, -1])
    return conv


def _affine(conv: nn.Conv2d) -> Tensor:
    """Converts a 1x1 convolution from C to D channels to a [D + 1,C + 1] float64 matrix.

    The last component of its inputs and outputs is 1.
    """
    matrix = torch.zeros(conv.out_channels + 1, conv.in_channels + 1, dtype=torch.float64)
    matrix[:-1, :-1] = conv.weight[:, :, 0, 0].cpu()
    if conv.bias is not None:
        matrix[:-1, -1] = conv.bias.cpu()
    matrix[-1, -1] = 1
    return matrix
