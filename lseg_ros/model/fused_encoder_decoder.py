"""The image side of a network as it runs: what is exported, and what every backend stands in for."""

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
    """Image -> unit vectors, in fewer dimensions than the text has and with the same cosines.

    Two 1x1 convolutions and an enlarging end the decoder. All are linear, so that one convolution, before the
    enlarging, does for both. From F features and a one it makes D numbers, which lie in a space of at most F + 1
    dimensions. Written as Q R, with orthonormal columns in Q, R alone gives a pixel's coordinates in that space.
    Lengths and products of pixels stay what they are, and a text's product with a pixel is that of its coordinates,
    text @ Q.

    In a vision transformer nothing bends what goes from the projection of the tokens through their enlarging and into
    the decoder's first convolution, either. The last two are one convolution here, with a fifth of the products.

    basis: [D,R] float32, Q. The weights that stay are the network's own.
    """

    basis: Tensor

    def __init__(self, net: LSegNet) -> None:
        super().__init__()
        weights = {id(tensor): tensor for tensor in chain(net.parameters(), net.buffers())}
        self.encoder, self.decoder = copy.deepcopy(net.encoder, weights), copy.deepcopy(net.decoder, weights)
        with torch.no_grad():
            if isinstance(self.encoder, VitEncoder):
                for level, part in enumerate(self.encoder.reassemble):
                    _merge(cast(Reassemble, part), self.decoder.project, level)
            affine = reduce(torch.matmul, [_affine(conv) for conv in reversed(net.decoder.linear)])
            basis, coordinates = torch.linalg.qr(affine[:-1])
            # Libraries choose the signs as they like. An exported encoder needs the same ones everywhere.
            signs = 1 - 2 * (coordinates.diagonal() < 0).to(basis.dtype)
            basis, coordinates = basis * signs, signs[:, None] * coordinates
            self.head = _conv1x1(coordinates)
        self.register_buffer("basis", basis.float())

    def forward(self, images: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
        """[B,3,H,W] float32 normalised with the variant's mean and std -> [B,R,h,w] float32 unit vectors.

        Args:
            images: height and width are multiples of 32.
            precision: of the encoder, as for `LSegNet.encode_image`.

        Raises:
            ValueError: they are not.
        """
        check_size(images.shape[-2], images.shape[-1])
        x = self.decoder.refine(encode_pyramid(self.encoder, images, precision))
        return functional.normalize(self.decoder.enlarge(self.head(x)).float(), dim=1)


def _merge(part: Reassemble, project: nn.ModuleList, level: int) -> None:
    """Makes one of a transposed convolution in `part` and of the 3x3 convolution that follows as `project[level]`.

    The bias between them needs a one beside the channels, which is missing beyond the border, where the second
    convolution sees nothing: so `part` gets a channel that is one everywhere.
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
    """[D,C + 1] of which the last column is the bias, as a 1x1 convolution from C to D channels."""
    conv = nn.Conv2d(affine.shape[1] - 1, len(affine), 1)
    assert conv.bias is not None
    conv.weight.copy_(affine[:, :-1, None, None])
    conv.bias.copy_(affine[:, -1])
    return conv


def _affine(conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution from C to D channels as [D + 1,C + 1] float64, which takes and gives a one as the last."""
    matrix = torch.zeros(conv.out_channels + 1, conv.in_channels + 1, dtype=torch.float64)
    matrix[:-1, :-1] = conv.weight[:, :, 0, 0].cpu()
    if conv.bias is not None:
        matrix[:-1, -1] = conv.bias.cpu()
    matrix[-1, -1] = 1
    return matrix
