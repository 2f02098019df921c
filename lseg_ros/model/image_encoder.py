"""The image side of a network as it runs: what is exported, and what every backend stands in for."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.net import LSegNet, check_size, encode_pyramid


class ImageEncoder(nn.Module):
    """Image -> unit vectors, in fewer dimensions than the text has and with the same cosines.

    The head is linear: from F features of the decoder and a one, it makes D numbers, all of which lie in a space of at
    most F + 1 dimensions. Written as weight = Q R, with orthonormal columns in Q, R alone gives a pixel's coordinates
    in that space. Lengths and products of pixels stay what they are, and a text's product with a pixel is that of its
    coordinates, text @ Q.

    basis: [D,R] float32, Q. Modules but for the head are the network's own.
    """

    basis: Tensor

    def __init__(self, net: LSegNet) -> None:
        super().__init__()
        self.encoder, self.decoder = net.encoder, net.decoder
        head = net.decoder.head
        with torch.no_grad():
            bias = torch.zeros(head.out_channels) if head.bias is None else head.bias.cpu()
            affine = torch.cat([head.weight.cpu().flatten(1), bias[:, None]], dim=1)
            basis, coordinates = torch.linalg.qr(affine.double())
            self.head = nn.Conv2d(head.in_channels, basis.shape[1], 1)
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
        pyramid = encode_pyramid(self.encoder, images, precision)
        return functional.normalize(self.head(self.decoder.fuse_levels(pyramid)).float(), dim=1)
