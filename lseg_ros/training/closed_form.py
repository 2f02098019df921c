"""Initial weights of a DeepLab decoder without training, such that texts score pixels as given classifiers do."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.evaluation.text_features import in_chunks
from lseg_ros.model.backbone import CnnEncoder, network, stages, stem
from lseg_ros.model.deeplab import DeepLabDecoder, Evidence
from lseg_ros.model.net import LSegNet
from lseg_ros.model.reader import CheckpointError, read_weights
from lseg_ros.model.variants import CnnBackbone

_RIDGE = 0.01  # relative to the mean square of a text feature; keeps embeddings near the texts
_JOINING_RIDGE = 1e-4  # the same for the map between two networks, for which there are thousands of pixels
_WEIGHT, _BIAS = "deeplab.logits.weight", "deeplab.logits.bias"
# Both were chosen on photographs left out of the training of lseg_mini.
_EVIDENCE_FROM = -2.0  # log odds of a class against none of them; what is less likely adds nothing
_EVIDENCE_GAIN = 40.0  # what one unit of evidence adds to the product of features and text


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
    affine = _read_classifier(path, "classifier", decoder.reduce.in_channels, max(classes))
    phrases = [words.get(label, [label]) for label in classes.values()]
    features = in_chunks(net.embed_text, [phrase for own in phrases for phrase in own])
    fit_head(decoder, affine[list(classes)], list(features.split([len(own) for own in phrases])))


@torch.no_grad()
def begin_with_evidence(net: LSegNet, path: Path, classes: Mapping[int, str], words: Mapping[str, list[str]]) -> None:
    """Fits the second network's evidence to the classifier of the network that it starts from.

    Each class is compared with class 0, "none of them". Evidence for a class then adds to the products of its label,
    and as little as possible to those of all other labels.

    Args:
        net: A network that has the file's other weights already, and its embedding head. It is filled in place.
        path: A weights file as for `begin_as_classifier`. Its output 0 stands for none of the classes.
        classes: Labels by other outputs, as many as the variant has classes.
        words: All phrases of a label by label. These labels compete with those of the classes.

    Raises:
        ValueError: The variant has no second network, or another number of classes.
        CheckpointError: The file has no such classifier, or fewer outputs than `classes` names.
    """
    second = getattr(net.decoder, "evidence", None)
    if not isinstance(second, Evidence):
        raise ValueError(f"'second_classifier' is for variants with a second network, unlike {net.variant.name}")
    count = second.classifier.out_channels
    if len(classes) != count or 0 in classes:
        raise ValueError(
            f"'second_classifier' names the outputs {', '.join(map(str, classes))}; {net.variant.name} needs {count}, "
            "without 0"
        )
    affine = _read_classifier(path, "second_classifier", second.classifier.in_channels, max(classes))
    odds = affine[list(classes)] - affine[0]
    labels = list(classes.values())
    others = [label for label in words if label not in labels]
    rows = in_chunks(net.encode_text, labels + others).double() @ net.decoder.head.weight[:, :, 0, 0].double()
    wanted = torch.eye(len(rows), count, dtype=torch.float64)
    wanted -= wanted.mean(0)  # a softmax does not see what all labels have
    second.classifier.weight.copy_(odds[:, :-1, None, None])
    assert second.classifier.bias is not None
    second.classifier.bias.copy_(odds[:, -1] - _EVIDENCE_FROM)
    fitted = ridge(rows, wanted, torch.ones(len(rows), dtype=torch.float64))
    second.project.weight.copy_(_EVIDENCE_GAIN * fitted[:, :, None, None])


@torch.no_grad()
def join_second(net: LSegNet, path: Path, images: Iterable[Tensor]) -> None:
    """Fits the second network's own stages to the stages that it shares with the first.

    The second network was trained behind stages of its own, with other weights. A linear map from the maps of the
    shared stages to those of its former ones is fitted by ridge regression. It becomes part of the first convolution
    behind them, so it costs nothing.

    Args:
        net: A network with a second one, in eval mode. That convolution and its BatchNorm change in place.
        path: The weights file of the second network, with timm's names.
        images: Batches of normalized [B,3,H,W] images.

    Raises:
        ValueError: The variant has no second network.
        CheckpointError: The file lacks weights of the stages.
    """
    encoder: object = net.encoder
    if not isinstance(encoder, CnnEncoder) or encoder.second is None:
        raise ValueError(f"{net.variant.name} has no second network that could be joined")
    backbone = net.variant.backbone
    assert isinstance(backbone, CnnBackbone)
    former = network(backbone).to(net.device).eval()
    missing = former.load_state_dict(read_weights(path)[0], strict=False).missing_keys
    lacking = [key for key in missing if not key.endswith("num_batches_tracked")]
    if lacking:
        raise CheckpointError(f"{path} lacks {lacking[0]}, a part of {backbone.name}")
    sums: list[Tensor] = []
    for batch in images:
        ours, theirs = (_pixels(cnn, batch.to(net.device), encoder.second_from) for cnn in (encoder.cnn, former))
        rows = functional.pad(ours, (0, 1), value=1.0)
        parts = (rows.T @ rows, rows.T @ theirs)
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
    gram, product = sums
    affine = _solved(gram, product, _JOINING_RIDGE).float()  # [C + 1,C']
    block = cast(Any, encoder.second)[0][0]
    weight = block.conv_pw.weight[:, :, 0, 0]
    block.bn1.running_mean -= weight @ affine[-1]
    block.conv_pw.weight.copy_((weight @ affine[:-1].T)[:, :, None, None])


def _pixels(cnn: nn.Module, images: Tensor, count: int) -> Tensor:
    """Runs the first stages; returns [pixels,C] float64."""
    x = stages(cnn)[:count](stem(cnn, images))
    return x.movedim(1, -1).flatten(0, -2).double()


def _read_classifier(path: Path, entry: str, width: int, last: int) -> Tensor:
    """Reads weights and bias as [classes,width + 1]; raises CheckpointError if they are missing or do not fit."""
    state = read_weights(path)[0]
    if _WEIGHT not in state or _BIAS not in state:
        raise CheckpointError(f"{path} has no {_WEIGHT} and {_BIAS}; leave out {entry!r}, or give a file with both")
    affine = torch.cat([state[_WEIGHT][:, :, 0, 0], state[_BIAS][:, None]], dim=1)
    if affine.shape != (len(affine), width + 1) or last >= len(affine):
        raise CheckpointError(
            f"{path} classifies {affine.shape[1] - 1} features into {len(affine)} classes; {entry!r} names the "
            f"class {last}, and the decoder has {width} features"
        )
    return affine


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
    return _solved(weighted @ rows, weighted @ wanted, _RIDGE)


def _solved(gram: Tensor, product: Tensor, strength: float) -> Tensor:
    """Solves the normal equations of a ridge regression."""
    penalty = strength * gram.trace() / len(gram) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + penalty, product)


def _shares(count: int) -> Tensor:
    """Returns the weights of a label's phrases: half for the label itself, half for all others together."""
    if count == 1:
        return torch.ones(1, dtype=torch.float64)
    return torch.tensor([0.5, *[0.5 / (count - 1)] * (count - 1)], dtype=torch.float64)
