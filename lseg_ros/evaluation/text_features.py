"""Other text features for the same labels, to see what the choice of text is worth with the same image encoder."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lseg_ros.data.common import package_lines
from lseg_ros.model.net import LSegNet
from lseg_ros.model.text import Clip, MiniLm, TextEncoder

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


def bag_of_words(encoder: TextEncoder, phrases: Sequence[str]) -> Tensor | None:
    """[N,E], the mean of the embeddings that the encoder's first layer has for a phrase's tokens: no word order, no
    context. None for an encoder that has no such table.
    """
    if isinstance(encoder, MiniLm):
        tokens = [encoder.tokenizer.encode(phrase, add_special_tokens=False).ids for phrase in phrases]
        table = encoder.words.weight
    elif isinstance(encoder, Clip):
        tokens = [encoder.tokenizer.encode(phrase) for phrase in phrases]
        table = encoder.tower.token_embedding.weight
    else:
        return None
    with torch.inference_mode():
        return torch.stack([table[torch.tensor(ids, device=table.device)].mean(0) for ids in tokens])


def linear_map(source: Tensor, target: Tensor) -> Tensor:
    """The [E,D] matrix W that brings source @ W nearest to `target` by least squares, the smallest of equals.

    Args:
        source: [N,E].
        target: [N,D].
    """
    # On the CPU, whose solver takes matrices without full rank.
    solution = torch.linalg.lstsq(source.double().cpu(), target.double().cpu(), driver="gelsd").solution
    return solution.float().to(target.device)


def mapped_bag_of_words(net: LSegNet, words: Sequence[str], fit: Sequence[str]) -> Tensor | None:
    """[N,D] unit rows for `words`: their bag of words, mapped into the pixels' space by a map fitted on those of `fit`
    that are not among `words`. None for an encoder without a bag of words.
    """
    fit = [word for word in dict.fromkeys(fit) if word not in words]
    source, bags = (bag_of_words(net.text_encoder, phrases) for phrases in (fit, words))
    if source is None or bags is None:
        return None
    matrix = linear_map(functional.normalize(source, dim=-1), in_chunks(net.encode_text, fit))
    return functional.normalize(functional.normalize(bags, dim=-1) @ matrix, dim=-1)


def package_words() -> list[str]:
    """Class names of the data sets that the package has lists of: 1200 everyday things, as words."""
    lists = ("labels/ade20k.txt", "labels/fewshot_coco.txt", "labels/fewshot_fss.txt")
    names = [line.split(";")[0].replace("_", " ") for path in lists for line in package_lines(path)]
    return list(dict.fromkeys(names))
