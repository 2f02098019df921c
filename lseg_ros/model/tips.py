"""TIPSv2 (Google, 2026) with the library transformers: its image encoder's dense vectors, and its text encoder."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.hub_library import from_folder
from lseg_ros.model.text import TextEncoder, too_long


class TipsEncoder(nn.Module):
    """Computes a vector for each patch of an image, as the authors do for segmentation.

    In the last block each patch stays by itself: the attention to other patches is left out, and the values go through
    its projection unchanged.
    """

    def __init__(self, vision: Any) -> None:
        """Takes over the modules of the library's Tipsv2VisionModel."""
        super().__init__()
        given = vision.embeddings
        self.project, self.layers, self.norm = given.patch_embeddings.projection, vision.encoder.layer, vision.layernorm
        self.class_token, self.registers = given.cls_token, given.register_tokens
        self.positions = given.position_embeddings
        self._stored = math.isqrt(self.positions.shape[1] - 1)
        self.channels = [int(vision.config.hidden_size)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps [B,3,H,W] in [0, 1], with sides in multiples of the patch, to one map, [B,D,H/patch,W/patch]."""
        patches = self.project(images)
        rows, columns = patches.shape[2:]
        patches = patches + self._positions(rows, columns)
        first = torch.cat([self.class_token + self.positions[:, :1], self.registers], dim=1)
        x = torch.cat([first.expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        for layer in self.layers[:-1]:
            x = layer(x)
        last = self.layers[-1]
        attention = last.attention
        x = x + last.layer_scale1(attention.o_proj(attention.v_proj(last.norm1(x))))
        x = x + last.layer_scale2(last.mlp(last.norm2(x)))
        x = self.norm(x)[:, first.shape[1] :]
        return [x.transpose(1, 2).unflatten(2, (rows, columns))]

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Returns the patches' position embeddings for a grid, [1,D,rows,columns]."""
        stored = self.positions[0, 1:].unflatten(0, (self._stored, self._stored))
        down, across = (_antialiased(n, self._stored, stored.device) for n in (rows, columns))
        return torch.einsum("rh,hwd,cw->drc", down, stored.float(), across)[None].to(stored.dtype)


def _antialiased(cells: int, stored: int, device: torch.device) -> Tensor:
    """Returns [cells,stored] weights of the library's bilinear interpolation, with antialias and corners not aligned.

    ONNX has no such interpolation, but it has the product with these weights.
    """
    index = torch.arange(cells, device=device, dtype=torch.float32)  # of whole numbers, an export makes float64
    scale = stored / torch.ones_like(index).sum()  # not a number but a tensor, which an export keeps for other sizes
    centers = (index + 0.5) * scale
    distance = torch.arange(stored, device=device, dtype=torch.float32) + 0.5 - centers[:, None]
    weights = (1 - distance.abs() / scale.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


class TipsText(TextEncoder):
    """The text encoder of TIPSv2. A phrase's vector is the mean over its tokens."""

    external = True

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Takes over the library's Tipsv2TextModel and the tokenizer that belongs to it."""
        super().__init__()
        self.model, self._tokenizer = model, tokenizer
        self._limit = int(model.config.max_position_embeddings)
        self.eval().requires_grad_(False)

    def check(self, phrase: str) -> None:
        """Raises ValueError where `phrase` has more tokens than the encoder reads."""
        self._tokens([phrase])

    def tokens(self, phrase: str) -> tuple[int, ...]:
        """Returns the tokens of a phrase. The tokenizer converts it to lower case."""
        return tuple(self._tokens([phrase])[0])

    def _tokens(self, phrases: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self._tokenizer(list(phrases), truncation=False)["input_ids"]
        for phrase, tokens in zip(phrases, found, strict=True):
            if len(tokens) > self._limit:
                raise too_long(phrase, len(tokens), self._limit)
        return found

    def forward(self, phrases: Sequence[str]) -> Tensor:
        """Encodes N phrases as [N,D] unit rows."""
        found = self._tokens(phrases)
        device = self.model.final_layer_norm.weight.device
        ids = torch.zeros(len(found), max(map(len, found), default=0), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(found):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        pooled: Tensor = self.model(input_ids=ids.to(device), attention_mask=mask.to(device)).pooler_output
        return functional.normalize(pooled.float(), dim=-1)


def load_tips(folder: Path) -> tuple[TipsEncoder, TipsText]:
    """Loads the two encoders from a folder in the Hub's layout.

    Raises:
        CheckpointError: The library is missing, or the folder holds something else.
    """
    model, tokenizer = from_folder(folder, "TIPSv2", "Tipsv2Model", "AutoTokenizer")
    return TipsEncoder(model.vision_model), TipsText(model.text_model, tokenizer)
