"""The contrastive loss: softmax cross-entropy between pixel embeddings and frozen text embeddings."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.data.common import IGNORE
from lseg_ros.model.net import LOGIT_SCALE, LSegNet
from lseg_ros.training.batches import Batch, Part


class Objective(nn.Module):
    """A network and its loss in one module, because DDP wraps one module."""

    def __init__(
        self, net: LSegNet, precision: torch.dtype = torch.bfloat16, balance: float = 0.0, jaccard: float = 0.0
    ) -> None:
        """Combines a network with a loss.

        Args:
            net: The network. It is trained in place.
            precision: Type of convolutions and products. The loss itself is computed in float32.
            balance: With 0 every pixel counts the same, with 1 every label does.
            jaccard: Weight of the second loss, 1 - the mean IoU of the probabilities. The cross-entropy's weight is 1.
        """
        super().__init__()
        self.net, self.precision, self.balance, self.jaccard = net, precision, balance, jaccard

    def forward(self, batch: Batch) -> Tensor:
        """Computes the loss of a batch: the mean over images of each part's loss.

        A part's loss is the cross-entropy over its labels at temperature 0.07, at the crop's resolution. With `jaccard`
        the IoU's loss is added, in which every label counts the same.
        """
        device = self.net.device
        images = batch.images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        with self._autocast(device):
            pixels = self.net.decoder.features(self.net.encoder(images))
        shares = [len(part.target) / len(images) for part in batch.parts]
        split = pixels.split([len(part.target) for part in batch.parts])
        losses = [self._part_loss(*pair) for pair in zip(split, batch.parts, strict=True)]
        return torch.stack([share * loss for share, loss in zip(shares, losses, strict=True)]).sum()

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32)

    def _part_loss(self, pixels: Tensor, part: Part) -> Tensor:
        target = part.target.to(pixels.device, non_blocking=True)
        text = self.net.project_text(part.text.to(pixels.device, non_blocking=True))
        logits = LOGIT_SCALE * _cosines(self.net.decoder.head, pixels.float(), text)
        if self.net.head_block is not None:
            logits = self.net.head_block(logits)
        grid = part.grid.to(pixels.device, non_blocking=True).expand(len(target), -1, -1, -1)
        logits = functional.grid_sample(logits, grid, align_corners=True)  # what `upsample` gives for these pixels
        weights = self._class_weights(target, len(text))
        loss = functional.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="sum")
        # Sum and count are computed separately, because a part with only ignored pixels has no mean.
        loss = loss / weights[target[target != IGNORE]].sum().clamp_min(1)
        return loss + self.jaccard * _jaccard_loss(logits, target) if self.jaccard else loss

    def _class_weights(self, target: Tensor, labels: int) -> Tensor:
        """Returns a weight for each label: (its share of the part's pixels) ** -balance.

        The mean over pixels is 1, and no weight exceeds 20.
        """
        pixels = torch.bincount(target[target != IGNORE], minlength=labels).float()
        weights = pixels.clamp_min(1) ** -self.balance
        return (weights * pixels.sum() / (weights * pixels).sum().clamp_min(1e-9)).clamp_max(20)


def _cosines(head: nn.Conv2d, pixels: Tensor, text: Tensor) -> Tensor:
    """Computes the cosines of texts [N,D] with the embeddings that `head` makes of pixels [n,F,h,w], as [n,N,h,w].

    The embeddings themselves have D features, several times F. They are not computed: their products with the texts
    follow from `text @ weight`, and their lengths from the products of the head's own weights.
    """
    weight, bias = head.weight[:, :, 0, 0], head.bias
    assert bias is not None
    dots = functional.conv2d(pixels, (text @ weight)[:, :, None, None], text @ bias)
    products = functional.conv2d(pixels, (weight.T @ weight)[:, :, None, None], 2 * (bias @ weight))
    squares = (products * pixels).sum(1, keepdim=True) + bias @ bias
    return dots / squares.clamp_min(1e-12).sqrt()


def _jaccard_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Computes 1 - IoU of probabilities and target, as the mean over the labels that occur. 0 where none occurs.

    Intersection and union are summed over all images, so a label with few pixels in one image weighs little. Source:
    Rahman and Wang, ISVC 2016.

    Args:
        logits: [n,N,h,w].
        target: [n,h,w] labels or IGNORE.
    """
    seen = target != IGNORE
    probabilities = logits.softmax(dim=1).movedim(1, -1)[seen]
    truth = functional.one_hot(target[seen], logits.shape[1]).to(probabilities.dtype)
    overlap = (probabilities * truth).sum(dim=0)
    union = probabilities.sum(dim=0) + truth.sum(dim=0) - overlap
    there = truth.any(dim=0)
    return (1 - overlap[there] / union[there]).sum() / there.sum().clamp_min(1)
