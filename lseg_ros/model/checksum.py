"""The checksum of a network's image side. If two networks have the same one, they put pixels into the same space."""

import hashlib

import torch

from lseg_ros.model.net import LSegNet


def image_side_sha256(net: LSegNet) -> str:
    """Computes the SHA-256 of the weights that compute vectors of pixels.

    It does not depend on the kind of file that they come from. The text encoder and the head block do not count.

    Args:
        net: The network, on any device. A billion weights take some seconds.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for part in ("encoder", "decoder"):
        for name, tensor in sorted(getattr(net, part).state_dict().items()):
            values = tensor.detach().to("cpu", torch.float32).contiguous()
            digest.update(f"{part}.{name} {tuple(values.shape)}\n".encode())
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()
