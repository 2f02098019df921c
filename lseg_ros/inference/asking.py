"""Answers questions about one image: where a phrase fits, and which labels compete at a pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lseg_ros.inference.competition import Competition
from lseg_ros.inference.embedding import ImageEmbedding
from lseg_ros.inference.labels import LabelError
from lseg_ros.inference.postprocess import best_prompt
from lseg_ros.inference.preprocess import Size
from lseg_ros.inference.protocol import PhraseMatch, PixelShares
from lseg_ros.inference.upsampling import at_pixel, resized
from lseg_ros.inference.winners import best_labels, shares
from lseg_ros.model.net import LSegNet


def match(net: LSegNet, image: ImageEmbedding, phrase: Tensor, rivals: Sequence[Tensor], output: Size) -> PhraseMatch:
    """Scores one phrase on an image.

    Args:
        net: The network.
        image: The network's embedding of the image.
        phrase: [1,R], the phrase.
        rivals: [k,R] rows of each competitor.
        output: Height and width of the result.

    Returns:
        The phrase's share and cosine at each pixel.
    """
    groups = [*rivals, phrase]
    logits = best_prompt(net.logits(image.coordinates, torch.cat(groups)), [len(group) for group in groups])
    best = best_labels(logits, image.sizes, output)
    share = shares(logits[:, -1:], best, image.sizes, output)
    cosine = functional.conv2d(image.coordinates, phrase[:, :, None, None])
    return PhraseMatch(share[0].cpu().numpy(), resized(cosine, image.sizes, output)[0].cpu().numpy())


def pixel_shares(
    net: LSegNet,
    image: ImageEmbedding,
    competition: Competition,
    names: tuple[str, ...],
    pixel: tuple[int, int],
    output: Size,
) -> PixelShares:
    """Returns the labels that compete at one pixel.

    Args:
        net: The network.
        image: The network's embedding of the image.
        competition: The labels.
        names: Name of each competitor.
        pixel: Column and row.
        output: Height and width of the image that the pixel refers to.

    Returns:
        Shares and cosines at the pixel.

    Raises:
        LabelError: There is no such pixel.
    """
    u, v = pixel
    if not (0 <= u < output[1] and 0 <= v < output[0]):
        raise LabelError(f"there is no pixel ({u}, {v}) in {output[1]}x{output[0]}; count columns and rows from 0")
    logits = best_prompt(net.logits(image.coordinates, competition.text), competition.counts)
    cosines = best_prompt(functional.conv2d(image.coordinates, competition.text[:, :, None, None]), competition.counts)
    return PixelShares(
        names,
        tuple(at_pixel(logits, image.sizes, output, u, v).softmax(0).tolist()),
        tuple(at_pixel(cosines, image.sizes, output, u, v).tolist()),
    )
