"""Text encoders give the same vectors without the computation that they leave out."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lseg_ros.model.text import Clip, MiniLm, load_minilm
from lseg_ros.model.variants import ClipText

pytestmark = pytest.mark.numeric

LABELS = ["sky", "fire extinguisher", "a photo of a person, standing", "tree", "!", "grass"]


@pytest.fixture(scope="module")
def minilm() -> MiniLm:
    return load_minilm()


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(0)
    return Clip(ClipText(32, 3, 2), 16)


def rows(module: nn.Module) -> list[int]:
    """Collects the number of tokens in each further call of an encoder's module."""
    found: list[int] = []
    module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].shape[:-1].numel()))
    return found


def test_minilm_is_the_padded_bert_without_the_padding(minilm: MiniLm) -> None:
    ids = [torch.tensor(minilm.tokenizer.encode(label).ids) for label in LABELS]
    tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True)
    padding = torch.arange(tokens.shape[1]) >= torch.tensor([len(i) for i in ids])[:, None]
    x = minilm.words(tokens) + minilm.positions.weight[: tokens.shape[1]] + minilm.token_type.weight[0]
    x = minilm.layers(minilm.norm(x), src_key_padding_mask=padding).masked_fill(padding[..., None], 0.0)
    expected = functional.normalize(x.sum(1), dim=-1)
    computed = rows(minilm.layers.layers[0].linear1)
    torch.testing.assert_close(minilm(LABELS), expected, rtol=0, atol=1e-6)
    assert computed == [sum(map(len, ids))]


@pytest.mark.parametrize("name", ["minilm", "clip"])
def test_a_phrase_does_not_depend_on_those_beside_it(name: str, request: pytest.FixtureRequest) -> None:
    encoder = request.getfixturevalue(name)
    together = encoder(LABELS)
    alone = torch.cat([encoder([label]) for label in LABELS])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder([*LABELS, "tree " * 20])[:-1], together, rtol=0, atol=1e-6)


def test_clip_reads_to_the_end_of_the_longest_label(clip: Clip) -> None:
    seen: list[Tensor] = []
    tokens = clip.tokenize(LABELS)
    expected = functional.normalize(clip.tower(tokens), dim=-1)
    hook = clip.tower.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(clip(LABELS), expected, rtol=0, atol=1e-6)
    hook.remove()
    longest = max(len(clip.tokenizer.encode(label)) for label in LABELS) + 2
    assert seen[0].shape == (len(LABELS), longest)
    torch.testing.assert_close(functional.normalize(clip.tower(tokens), dim=-1), expected, rtol=0, atol=0)


def test_a_network_without_clip_starts_without_open_clip() -> None:
    """Importing open_clip takes a second."""
    code = "import sys; sys.modules['open_clip'] = None; from lseg_ros import load_model; load_model('lseg_mini')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
