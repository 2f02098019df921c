"""The image side of a network as it runs: what is exported, and what every backend stands in for."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.net import LSegNet, check_size, encode_pyramid


class ImageEncoder(nn.Module):
    """Image -> unit vectors, in fewer dimensions than the text has and with the same cosines.

    Two 1x1 convolutions and an enlarging end the decoder. All are linear, so that one convolution, before the
    enlarging, does for both. From F features and a one it makes D numbers, which lie in a space of at most F + 1
    dimensions. Written as Q R, with orthonormal columns in Q, R alone gives a pixel's coordinates in that space.
    Lengths and products of pixels stay what they are, and a text's product with a pixel is that of its coordinates,
    text @ Q.

    basis: [D,R] float32, Q. Modules but for the head are the network's own.
    """

    basis: Tensor

    def __init__(self, net: LSegNet) -> None:
        super().__init__()
        self.encoder, self.decoder = net.encoder, net.decoder
        with torch.no_grad():
            affine = _affine(net.decoder.head) @ _affine(net.decoder.finest.out_conv)
            basis, coordinates = torch.linalg.qr(affine[:-1])
            # Libraries choose the signs as they like. An exported encoder needs the same ones everywhere.
            signs = 1 - 2 * (coordinates.diagonal() < 0).to(basis.dtype)
            basis, coordinates = basis * signs, signs[:, None] * coordinates
            self.head = nn.Conv2d(affine.shape[1] - 1, basis.shape[1], 1)
            self.head.weight.copy_(coordinates[:, :-1, None, None])
            assert self.head.bias is not None
            self.head.bias.copy_(coordinates[:, -1])
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
        return functional.normalize(self.decoder.finest.enlarge(self.head(x)).float(), dim=1)


def _affine(conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution from C to D channels as [D + 1,C + 1] float64, which takes and gives a one as the last."""
    matrix = torch.zeros(conv.out_channels + 1, conv.in_channels + 1, dtype=torch.float64)
    matrix[:-1, :-1] = conv.weight[:, :, 0, 0].cpu()
    if conv.bias is not None:
        matrix[:-1, -1] = conv.bias.cpu()
    matrix[-1, -1] = 1
    return matrix
