"""Initial weights of the embedding head without training, such that texts score pixels as a given classifier does."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lseg_ros.evaluation.text_features import in_chunks
from lseg_ros.model.deeplab import DeepLabDecoder
from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError, read_weights

_RIDGE = 0.01  # relative to the mean square of a text feature; keeps embeddings near the texts
_WEIGHT, _BIAS = "deeplab.logits.weight", "deeplab.logits.bias"


@torch.no_grad()
def begin_as_classifier(net: LSegNet, path: Path, classes: Mapping[int, str], words: Mapping[str, list[str]]) -> None:
    """Fits a network's embedding head to the classifier of the network that it starts from.

    The network then knows the classifier's labels, and words near to them, before its first step.

    Args:
        net: A network that has the file's other weights already. Its head is filled in place.
        path: A weights file with a classifier: `deeplab.logits.weight` [N,width,1,1] and `deeplab.logits.bias` [N].
        classes: Labels by output of the classifier.
        words: All phrases of a label by label, the label itself first.

    Raises:
        ValueError: The variant has no DeepLab decoder.
        CheckpointError: The file has no such classifier, or fewer outputs than `classes` names.
    """
    decoder: object = net.decoder
    if not isinstance(decoder, DeepLabDecoder):
        raise ValueError(f"'classifier' is for variants with DeepLab's decoder, and {net.variant.name} has another")
    state = read_weights(path)[0]
    if _WEIGHT not in state or _BIAS not in state:
        raise CheckpointError(f"{path} has no {_WEIGHT} and {_BIAS}; leave out 'classifier', or give a file with both")
    affine = torch.cat([state[_WEIGHT][:, :, 0, 0], state[_BIAS][:, None]], dim=1)
    if affine.shape != (len(affine), decoder.reduce.in_channels + 1) or max(classes) >= len(affine):
        raise CheckpointError(
            f"{path} classifies {affine.shape[1] - 1} features into {len(affine)} classes; 'classifier' names the "
            f"class {max(classes)}, and the decoder has {decoder.reduce.in_channels} features"
        )
    phrases = [words.get(label, [label]) for label in classes.values()]
    features = in_chunks(net.embed_text, [phrase for own in phrases for phrase in own])
    fit_head(decoder, affine[list(classes)], list(features.split([len(own) for own in phrases])))


@torch.no_grad()
def fit_head(decoder: DeepLabDecoder, classifier: Tensor, texts: list[Tensor]) -> None:
    """Fits `reduce` and `head` by ridge regression.

    The embedding of a pixel is a linear map of its features. The fit brings the products of embedding and texts of each
    class as near as possible to the score of the class. The mean of all scores is subtracted first, because it does not
    change a softmax.

    Args:
        decoder: The decoder, which is filled in place.
        classifier: [N,width + 1], weights and bias of each class.
        texts: [n,D] unit rows for each class. The first row counts as much as the others together.
    """
    scores = (classifier - classifier.mean(0)).double()
    rows = torch.cat(texts).double()
    of = torch.arange(len(texts)).repeat_interleave(torch.tensor([len(text) for text in texts]))
    embedding = ridge(rows, scores[of], torch.cat([_shares(len(text)) for text in texts]))  # [D,width + 1]
    left, values, right = torch.linalg.svd(embedding[:, :-1], full_matrices=False)
    kept = min(decoder.reduce.out_channels, len(values))
    # Only directions of embeddings count, so their scale is free. This one suits the learning rates of both parts.
    scale = decoder.reduce.out_channels**0.5 / embedding.norm()
    roots = (values[:kept] * scale).sqrt()
    for convolution in (decoder.reduce, decoder.head):
        convolution.weight.zero_()
    decoder.reduce.weight[:kept, :, 0, 0] = (roots[:, None] * right[:kept]).float()
    decoder.head.weight[:, :kept, 0, 0] = (left[:, :kept] * roots).float()
    assert decoder.reduce.bias is not None and decoder.head.bias is not None
    decoder.reduce.bias.zero_()
    decoder.head.bias.copy_(embedding[:, -1] * scale)


def ridge(rows: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Solves a weighted ridge regression.

    Args:
        rows: [n,F] float64.
        wanted: [n,C] float64, what the products with the rows should be.
        weights: [n] float64, how much each row counts.

    Returns:
        [F,C] float64.
    """
    weighted = rows.T * weights
    gram = weighted @ rows
    gram += _RIDGE * gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, weighted @ wanted)


def _shares(count: int) -> Tensor:
    """Returns the weights of a label's phrases: half for the label itself, half for all others together."""
    if count == 1:
        return torch.ones(1, dtype=torch.float64)
    return torch.tensor([0.5, *[0.5 / (count - 1)] * (count - 1)], dtype=torch.float64)
