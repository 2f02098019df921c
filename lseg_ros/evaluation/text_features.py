"""Other text features for the same labels, to see what the choice of text is worth with the same image encoder."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

TEMPLATES = ("{}", "a {}", "the {}", "a photo of a {}", "{} in the scene", "an image that shows {}")
_CHUNK = 64  # phrases; a CLIP text tower takes some 10 MB for each


def fill(template: str, word: str) -> str:
    """The phrase for a word; other braces stay as they are."""
    return template.replace("{}", word)


def in_chunks(encode: Callable[[Sequence[str]], Tensor], phrases: Sequence[str]) -> Tensor:
    """What `encode` makes of N > 0 phrases, [N,D], a few at a time; raises as it does."""
    with torch.inference_mode():
        return torch.cat([encode(phrases[i : i + _CHUNK]) for i in range(0, len(phrases), _CHUNK)])


def ensemble(features: Sequence[Tensor]) -> Tensor:
    """[N,D] unit rows for each of several templates -> [N,D] unit rows, the direction of their mean."""
    return functional.normalize(torch.stack(list(features)).mean(0), dim=-1)


def shuffled(features: Tensor) -> Tensor:
    """[N,D] with N > 1 -> the same rows in another order, none where it was; always the same order."""
    rows, generator = len(features), torch.Generator().manual_seed(0)
    order = torch.arange(rows)
    while (order == torch.arange(rows)).any():
        order = torch.randperm(rows, generator=generator)
    return features[order.to(features.device)]
