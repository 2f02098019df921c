"""SigLIP 2 (Google, 2025) with the library transformers: a vector for each patch of an image, and its text encoder."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.hub_library import from_folder
from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.text import TextEncoder, too_long


class SiglipEncoder(nn.Module):
    """Computes a vector for each patch of an image, in the space of the text.

    SigLIP was trained with one vector for an image: a learned query attends to all patches, and the result goes through
    an MLP. Here each patch goes through that head alone, as if the query saw nothing else. Its attention is then 1, so
    only the projections of the values and the MLP remain. MaskCLIP (Zhou et al., ECCV 2022) does the same with the
    attention pooling of CLIP.
    """

    def __init__(self, vision: Any) -> None:
        """Takes over the modules of the library's SiglipVisionModel."""
        super().__init__()
        self.project, self.layers = vision.embeddings.patch_embedding, vision.encoder.layers
        self.positions, self.norm = vision.embeddings.position_embedding, vision.post_layernorm
        head = vision.head
        width = int(vision.config.hidden_size)
        self.value = nn.Linear(width, width)
        with torch.no_grad():  # queries, keys and values lie in one tensor, in this order
            self.value.weight.copy_(head.attention.in_proj_weight[-width:])
            self.value.bias.copy_(head.attention.in_proj_bias[-width:])
        self.out, self.head_norm, self.mlp = head.attention.out_proj, head.layernorm, head.mlp
        self._stored = math.isqrt(self.positions.num_embeddings)
        self.channels = [width]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps [B,3,H,W] in [-1, 1], with sides in multiples of the patch, to one map, [B,D,H/patch,W/patch]."""
        patches = self.project(images)
        rows, columns = patches.shape[2:]
        x = (patches + self._positions(rows, columns)).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, None)
        x = self.out(self.value(self.norm(x)))
        x = x + self.mlp(self.head_norm(x))
        return [x.transpose(1, 2).unflatten(2, (rows, columns))]

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Returns the position embeddings for a grid, [1,D,rows,columns], interpolated as the library does it."""
        stored = self.positions.weight.unflatten(0, (self._stored, self._stored)).permute(2, 0, 1)[None]
        found = functional.interpolate(stored.float(), size=(rows, columns), mode="bicubic", align_corners=False)
        return found.to(stored.dtype)


class SiglipText(TextEncoder):
    """The text encoder of SigLIP 2. It reads lower case, and at most as many tokens as it has positions."""

    external = True

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Takes over the library's SiglipTextModel and Siglip2Tokenizer."""
        super().__init__()
        self.model, self._tokenizer = model, tokenizer
        self._length = int(model.config.max_position_embeddings)
        self.eval().requires_grad_(False)

    def check(self, phrase: str) -> None:
        """Raises ValueError where `phrase` has more tokens than the encoder reads."""
        self._encode([phrase])

    def tokens(self, phrase: str) -> tuple[int, ...]:
        """Returns the tokens of a phrase, in lower case and without the end."""
        return tuple(self._tokenizer([phrase], add_special_tokens=False, truncation=False)["input_ids"][0])

    def _encode(self, phrases: Sequence[str]) -> Tensor:
        """Returns [N,length] token ids: the phrase, the end, padding. In training the padding was visible, too."""
        ids = torch.full((len(phrases), self._length), self._tokenizer.pad_token_id)
        for row, phrase in zip(ids, phrases, strict=True):
            tokens = [*self.tokens(phrase), self._tokenizer.eos_token_id]
            if len(tokens) > self._length:
                raise too_long(phrase, len(tokens), self._length)
            row[: len(tokens)] = torch.tensor(tokens)
        return ids

    def forward(self, phrases: Sequence[str]) -> Tensor:
        """Encodes N phrases as [N,D] rows of length 1."""
        ids = self._encode(phrases).to(self.model.head.weight.device)
        return functional.normalize(self.model(input_ids=ids).pooler_output.float(), dim=-1)


def load_siglip(folder: Path) -> tuple[SiglipEncoder, SiglipText, float]:
    """Loads the two encoders and the factor of cosines from a folder in the Hub's layout.

    Raises:
        CheckpointError: The library is missing, or the folder holds something else.
    """
    # The Hub's folders name another tokenizer, which keeps capitals. The model was trained without them.
    model, tokenizer = from_folder(folder, "SigLIP 2", "SiglipModel", "Siglip2Tokenizer")
    if tokenizer.convert_tokens_to_ids(["<pad>", "<eos>"]) != [0, 1]:
        raise CheckpointError(f"{folder} does not have the vocabulary of SigLIP 2; is it of the first SigLIP?")
    return SiglipEncoder(model.vision_model), SiglipText(model.text_model, tokenizer), model.logit_scale.exp().item()
