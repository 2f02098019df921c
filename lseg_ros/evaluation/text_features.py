"""Other text features for the same labels, which show the effect of the text on the same image encoder."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

TEMPLATES = ("{}", "a {}", "the {}", "a photo of a {}", "{} in the scene", "an image that shows {}")
_CHUNK = 64  # phrases; CLIP's text tower takes about 10 MB for each


def fill(template: str, word: str) -> str:
    """Puts a word into a template. Only {} is replaced; other braces stay."""
    return template.replace("{}", word)


def in_chunks(encode: Callable[[Sequence[str]], Tensor], phrases: Sequence[str]) -> Tensor:
    """Encodes N > 0 phrases as [N,D], a few at a time to bound the memory."""
    with torch.inference_mode():
        return torch.cat([encode(phrases[i : i + _CHUNK]) for i in range(0, len(phrases), _CHUNK)])


def ensemble(features: Sequence[Tensor]) -> Tensor:
    """Averages the [N,D] unit rows of several templates and scales the mean to unit rows."""
    return functional.normalize(torch.stack(list(features)).mean(0), dim=-1)


def shuffled(features: Tensor) -> Tensor:
    """Reorders N > 1 rows so that none stays at its place. The order is the same every time."""
    rows, generator = len(features), torch.Generator().manual_seed(0)
    order = torch.arange(rows)
    while (order == torch.arange(rows)).any():
        order = torch.randperm(rows, generator=generator)
    return features[order.to(features.device)]
