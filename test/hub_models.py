"""Small models of the library transformers in folders in the Hub's layout, with seeded random weights."""

from pathlib import Path
from typing import Any

import torch

WIDTH = 32
_LETTERS = "abcdefghijklmnopqrstuvwxyz."
_SIZES: dict[str, Any] = {"num_hidden_layers": 3, "num_attention_heads": 4}


def _seeded(make: Any, folder: Path) -> Any:
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # none is zero, as biases are before training
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model


def save_tips(folder: Path, width: int = WIDTH) -> Any:
    """Writes a small TIPSv2 and a tokenizer of letters. Returns the library's model."""
    from transformers import Tipsv2Config, Tipsv2Model, Tipsv2TextConfig, Tipsv2Tokenizer, Tipsv2VisionConfig

    vocabulary = {"<pad>": 0, "<unk>": 1, "\u2581": 2, **{letter: 3 + i for i, letter in enumerate(_LETTERS)}}
    sizes = {"hidden_size": width, **_SIZES}
    text = Tipsv2TextConfig(**sizes, intermediate_size=64, vocab_size=len(vocabulary))
    vision = Tipsv2VisionConfig(**sizes, image_size=56, layerscale_value=0.5)
    config = Tipsv2Config(text_config=text.to_dict(), vision_config=vision.to_dict())
    model = _seeded(lambda: Tipsv2Model(config), folder)
    Tipsv2Tokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return model


def save_siglip(folder: Path, patch: int = 16, pad: str = "<pad>") -> Any:
    """Writes a small SigLIP 2 and a tokenizer of letters, of the class that the Hub's folders name.

    Args:
        folder: The folder to write.
        patch: Side of a patch.
        pad: The token for padding. Another one stands for the vocabulary of the first SigLIP.

    Returns:
        The library's model.
    """
    from transformers import GemmaTokenizer, SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig

    names = [pad, "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *_LETTERS]
    vocabulary = {name: i for i, name in enumerate(names)}
    sizes = {"hidden_size": WIDTH, "intermediate_size": 64, **_SIZES}
    text = SiglipTextConfig(**sizes, vocab_size=len(vocabulary))
    vision = SiglipVisionConfig(**sizes, image_size=4 * patch, patch_size=patch)
    config = SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())
    model = _seeded(lambda: SiglipModel(config), folder)
    GemmaTokenizer(vocab=vocabulary, merges=[], pad_token=pad, add_bos_token=False, add_eos_token=True).save_pretrained(
        folder
    )
    return model
