"""TIPSv2 (Google, 2026) by the library transformers: its image encoder's dense vectors, and its text encoder.

The library is imported only where such a model is loaded.
"""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.text import TextEncoder, too_long
from lseg_ros.model.variants import HubBackbone

_STEP = 32  # pixels; images have sides of multiples of it, here as everywhere


class TipsEncoder(nn.Module):
    """Images -> a vector for each patch, as the authors read it for segmentation.

    In the last block each patch keeps to itself: what attention would mix from others is left out, and the values go
    through its projection as they are. Patches have 14 pixels. Images come in multiples of 32, so they are shrunk by
    7/8 first: 16 pixels of an image become one patch.
    """

    def __init__(self, vision: Any, backbone: HubBackbone) -> None:
        """vision: the library's Tipsv2VisionModel, whose modules are taken over."""
        super().__init__()
        given = vision.embeddings
        self.project, self.layers, self.norm = given.patch_embeddings.projection, vision.encoder.layer, vision.layernorm
        self.class_token, self.registers = given.cls_token, given.register_tokens
        self.positions = given.position_embeddings
        self._patch, self._stored = backbone.patch, math.isqrt(self.positions.shape[1] - 1)
        self.channels = [int(vision.config.hidden_size)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B,3,H,W] in [0, 1], sides multiples of 32 -> one map, [B,D,H/16,W/16]."""
        rows, columns = images.shape[2] * 2 // _STEP, images.shape[3] * 2 // _STEP
        size = (rows * self._patch, columns * self._patch)
        patches = self.project(functional.interpolate(images, size=size, mode="bilinear", align_corners=False))
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
        """The patches' position embeddings for a grid, [1,D,rows,columns]."""
        stored = self.positions[0, 1:].unflatten(0, (self._stored, self._stored))
        down, across = (_antialiased(n, self._stored, stored.device) for n in (rows, columns))
        return torch.einsum("rh,hwd,cw->drc", down, stored.float(), across)[None]


def _antialiased(cells: int, stored: int, device: torch.device) -> Tensor:
    """[cells,stored] weights of a bilinear interpolation with antialias, corners not aligned, as the library has it.

    It has no form in ONNX; a product has.
    """
    index = torch.arange(cells, device=device)
    scale = stored / torch.ones_like(index).sum()  # not a number but a tensor, which an export keeps for other sizes
    centers = (index + 0.5) * scale
    distance = torch.arange(stored, device=device) + 0.5 - centers[:, None]
    weights = (1 - distance.abs() / scale.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


class TipsText(TextEncoder):
    """The text encoder of TIPSv2; a phrase's vector is the mean over its tokens."""

    external = True

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """model: the library's Tipsv2TextModel. tokenizer: the one that belongs to it."""
        super().__init__()
        self.model, self._tokenizer = model, tokenizer
        self._limit = int(model.config.max_position_embeddings)
        self.eval().requires_grad_(False)

    def check(self, phrase: str) -> None:
        """Raises ValueError where `phrase` has more tokens than the encoder reads."""
        self._tokens([phrase])

    def _tokens(self, phrases: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self._tokenizer(list(phrases), truncation=False)["input_ids"]
        for phrase, tokens in zip(phrases, found, strict=True):
            if len(tokens) > self._limit:
                raise too_long(phrase, len(tokens), self._limit)
        return found

    def forward(self, phrases: Sequence[str]) -> Tensor:
        """N phrases -> [N,D] unit rows."""
        found = self._tokens(phrases)
        device = self.model.final_layer_norm.weight.device
        ids = torch.zeros(len(found), max(map(len, found), default=0), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(found):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        pooled: Tensor = self.model(input_ids=ids.to(device), attention_mask=mask.to(device)).pooler_output
        return functional.normalize(pooled.float(), dim=-1)


def load_tips(folder: Path, backbone: HubBackbone) -> tuple[TipsEncoder, TipsText]:
    """The two encoders of a folder in the Hub's layout; nothing is fetched.

    Raises:
        CheckpointError: The library is missing, or the folder holds something else.
    """
    if find_spec("transformers") is None:
        raise CheckpointError("TIPSv2 needs the library transformers; run: pip install 'lseg_ros[hub]'")
    try:
        from transformers import AutoTokenizer, Tipsv2Model
    except ImportError as error:
        raise CheckpointError("TIPSv2 needs transformers 5.14 or newer; run: pip install 'lseg_ros[hub]'") from error
    try:
        model = Tipsv2Model.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever the library makes of files that are missing or damaged
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{folder} holds no TIPSv2 that can be read: {reason}; fetch it again") from error
    return TipsEncoder(model.vision_model, backbone), TipsText(model.text_model, tokenizer)
