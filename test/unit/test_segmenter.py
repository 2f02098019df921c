"""`Segmenter` from image and labels to numbers, compared with their plain definition."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from rounding import assert_same_mask, ties
from tiny import TINY, HashText, tiny_net
from torch import Tensor
from torch.nn import functional

from lseg_ros import Segmenter
from lseg_ros.inference.labels import IdRules, LabelError, LabelSpec
from lseg_ros.inference.preprocess import geometry, to_input

pytestmark = pytest.mark.numeric

RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
LABELS = ["road", "grass", "sky", "car"]


def test_geometry_keeps_the_aspect_and_pads_to_32() -> None:
    sizes = geometry((480, 640), 480, 32)
    assert (sizes.resized, sizes.padded) == ((360, 480), (384, 480))
    assert geometry((1, 1000), 480, 32).resized == (1, 480)
    assert geometry((480, 640), 448, 14).padded == (336, 448)


def test_input_is_resized_padded_with_black_and_normalised() -> None:
    sizes = geometry((60, 100), 96, 32)  # -> 58 x 96, padded to 64 x 96
    x = to_input(RGB, sizes, TINY, torch.device("cpu"))
    assert x.shape == (1, 3, 64, 96)
    for channel in range(3):
        black = -TINY.mean[channel] / TINY.std[channel]
        torch.testing.assert_close(x[0, channel, 58:], torch.full((6, 96), black))
    rgb = torch.from_numpy(RGB).permute(2, 0, 1)[None] / 255
    plain = functional.interpolate(rgb, size=(58, 96), mode="bilinear", align_corners=False)
    mean, std = torch.tensor(TINY.mean).view(3, 1, 1), torch.tensor(TINY.std).view(3, 1, 1)
    torch.testing.assert_close(x[:, :, :58], (plain - mean) / std, rtol=0, atol=1e-5)


def test_the_whole_chain_against_its_definition() -> None:
    net = tiny_net()
    segmenter = Segmenter(net, "cpu")
    segmenter.set_labels(
        [LabelSpec("road", prompts=("road", "street")), LabelSpec("sky"), LabelSpec("x", background=True)]
    )
    result = segmenter.segment(RGB)
    x = to_input(RGB, geometry((60, 100), 96, 32), TINY, torch.device("cpu"))
    with torch.no_grad():
        small = net.logits(net.encode_image(x), net.encode_text(["road", "street", "sky", "x"]))
        small = torch.stack([small[0, :2].amax(0), small[0, 2], small[0, 3]])[None]
        large = functional.interpolate(small, size=(64, 96), mode="bilinear", align_corners=True)[:, :, :58]
        large = functional.interpolate(large, size=(60, 100), mode="bilinear", align_corners=False)
    shares = large[0].softmax(0).numpy()
    np.testing.assert_allclose(result.scores("sky"), shares[1], atol=1e-5)
    np.testing.assert_allclose(result.confidence, shares.max(0), atol=1e-5)
    expected = np.array([1, 2, 255])[shares.argmax(0)]
    assert result.mask.dtype == np.uint8
    assert (result.mask != expected).mean() < 1e-3
    assert set(np.unique(expected)) == {1, 2, 255}


def test_scores_sum_to_one_and_the_winner_is_the_mask() -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(LABELS)
    result = segmenter.segment(RGB)
    scores = np.stack([result.scores(name) for name in LABELS])
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-5)
    # Scores of one label and of all are enlarged by products of different sizes, which round differently.
    assert_same_mask(result.mask, scores.argmax(0) + 1, ties(scores))
    np.testing.assert_allclose(result.confidence, scores.max(0), atol=1e-5)
    assert result.mask.shape == result.confidence.shape == (60, 100)
    with pytest.raises(ValueError, match="there is no label 'tree'; there are: 'road', 'grass'"):
        result.scores("tree")


def test_threshold_makes_pixels_unknown_and_keeps_their_confidence() -> None:
    segmenter = Segmenter(tiny_net(), "cpu", threshold=0.6)
    segmenter.set_labels(LABELS)
    strict = segmenter.segment(RGB)
    segmenter.threshold = 0.0
    free = segmenter.segment(RGB)
    low = free.confidence < 0.6
    assert 0 < low.mean() < 1
    np.testing.assert_array_equal(strict.mask, np.where(low, 255, free.mask))
    np.testing.assert_array_equal(strict.confidence, free.confidence)


def test_a_threshold_of_its_own_counts_for_one_label() -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels([LabelSpec("road", threshold=1.0), LabelSpec("grass")])
    assert set(np.unique(segmenter.segment(RGB).mask)) == {2, 255}


def test_one_label_competes_with_the_contrast() -> None:
    segmenter = Segmenter(tiny_net(), "cpu", contrast=("other", "stuff"))
    labels = segmenter.set_labels(["road"])
    assert labels.names == ["road"]
    result = segmenter.segment(RGB)
    assert set(np.unique(result.mask)) == {1, 255}
    assert result.scores("road").min() < 0.5


def test_an_embedding_is_scored_under_new_labels_without_the_image() -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(["road", "grass"])
    embedding = segmenter.embed(RGB)
    before = segmenter.score(embedding)
    segmenter.set_labels(["sky", "road"])
    again = segmenter.score(embedding)
    np.testing.assert_array_equal(again.mask, segmenter.segment(RGB).mask)
    assert before.labels.version == 1 and again.labels.version == 2
    assert set(np.unique(before.mask)) <= {1, 2}  # computed only now, and still under its own labels


def test_known_phrases_are_not_encoded_again() -> None:
    net = tiny_net()
    text = net.text_encoder
    assert isinstance(text, HashText)
    segmenter = Segmenter(net, "cpu")
    segmenter.set_labels(["road", "grass"])
    segmenter.set_labels(["grass", "sky"])
    assert text.encoded == ["road", "grass", "sky"]


def test_a_refused_list_leaves_the_old_one() -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    old = segmenter.set_labels(["road", "grass"])
    for labels in (["road", ""], ["x" * 78], "road"):
        with pytest.raises(LabelError):
            segmenter.set_labels(labels)
    assert segmenter.labels is old
    with pytest.raises(LabelError, match="no labels are set"):
        Segmenter(tiny_net(), "cpu").segment(RGB)


def test_output_size_and_large_ids() -> None:
    segmenter = Segmenter(tiny_net(), "cpu", output_size=(30, 50), rules=IdRules(65535, 65535))
    segmenter.set_labels(["road", "grass"], class_ids=[1000, 2])
    mask = segmenter.segment(RGB).mask
    assert mask.shape == (30, 50) and mask.dtype == np.uint16
    assert set(np.unique(mask)) <= {1000, 2}


@pytest.mark.parametrize("bad", [RGB[..., 0], RGB.astype(np.float32), RGB[:0], RGB[..., :2]])
def test_bad_images(bad: np.ndarray) -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(LABELS)
    with pytest.raises(ValueError, match="height x width x 3, uint8, RGB"):
        segmenter.segment(bad)


def test_views_and_read_only_images_are_fine() -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(LABELS)
    frozen = np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape)
    flipped = np.ascontiguousarray(RGB[:, ::-1])
    np.testing.assert_array_equal(segmenter.segment(frozen).mask, segmenter.segment(RGB).mask)
    np.testing.assert_array_equal(segmenter.segment(RGB[:, ::-1]).mask, segmenter.segment(flipped).mask)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"device": "tpu9"}, "device 'tpu9'"),
        ({"precision": "int4"}, "precision 'int4'"),
        ({"input_size": -3}, "input_size is -3"),
        ({"device": "meta"}, "device 'meta'"),
        ({"threshold": 2.0}, "threshold is 2.0"),
        ({"output_size": (0, 3)}, "output_size is"),
        ({"device": "cuda:99"}, "device 'cuda:99' was asked for, and torch finds"),
        ({"contrast": ["other", " "]}, "contrast phrase is empty"),
        ({"contrast": ["x" * 78]}, "too long"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Segmenter(tiny_net(), **{"device": "cpu", **arguments})  # type: ignore[arg-type]


def test_each_phrase_of_a_query_competes_alone_with_labels_and_contrast() -> None:
    segmenter = Segmenter(tiny_net(), "cpu", contrast=["other"])
    labels = [LabelSpec("road", prompts=("road", "street")), LabelSpec("sky")]
    before = segmenter.set_labels(labels)
    image = segmenter.embed(RGB)
    matches = segmenter.query(image, ["door ", "stairs"], (60, 100))
    assert segmenter.labels is before
    for phrase, match in zip(["door", "stairs"], matches, strict=True):
        other = Segmenter(tiny_net(), "cpu")
        other.set_labels([*labels, LabelSpec("other"), LabelSpec(phrase)])
        np.testing.assert_allclose(match.score, other.score(image).scores(phrase), atol=1e-5)
        with torch.no_grad():
            vector = tiny_net().encode_text([phrase])[0]
        assert match.cosine.shape == match.score.shape and abs(match.cosine).max() <= 1 + 1e-5
        near = (image.embedding[0] * vector[:, None, None]).sum(0)
        assert near.min() - 1e-5 <= match.cosine.min() and match.cosine.max() <= near.max() + 1e-5


def test_a_phrase_does_not_compete_with_itself() -> None:
    segmenter = Segmenter(tiny_net(), "cpu", contrast=["other"])
    image = segmenter.embed(RGB)
    segmenter.set_labels([LabelSpec("path", prompts=("road", "street")), LabelSpec("sky")])
    as_label = segmenter.query(image, ["road"], (30, 50))[0]
    segmenter.set_labels(["sky"])
    alone = segmenter.query(image, ["road"], (30, 50))[0]
    assert as_label.score.shape == (30, 50)
    np.testing.assert_allclose(as_label.score, alone.score, atol=1e-5)


@pytest.mark.parametrize(
    ("phrases", "reason"),
    [([], "empty"), ([" "], "phrase 1 of 1"), (["a\n"] * 2 + ["b\nc"], "control"), (["x " * 300], "long")],
)
def test_phrases_that_cannot_be_asked_for(phrases: list[str], reason: str) -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(LABELS)
    with pytest.raises(LabelError, match=reason):
        segmenter.query(segmenter.embed(RGB), phrases, (60, 100))


def test_another_size_and_channels_side_by_side() -> None:
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(LABELS)
    result = segmenter.segment(RGB)
    small = result.at((20, 30))
    assert small.mask.shape == (20, 30) and small.labels is result.labels
    direct = Segmenter(tiny_net(), "cpu", output_size=(20, 30))
    direct.set_labels(LABELS)
    np.testing.assert_array_equal(small.mask, direct.segment(RGB).mask)
    channels = result.score_channels(["sky", "road"])
    np.testing.assert_allclose(channels, np.stack([result.scores("sky"), result.scores("road")], -1), atol=1e-5)


def test_usage_names_the_device() -> None:
    usage = Segmenter(tiny_net(), "cpu").usage()
    assert usage["device"] == "cpu" and int(usage.get("memory_mb", 1)) > 0


def test_many_labels_are_encoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net = tiny_net()
    together: list[int] = []
    encode = net.encode_text

    def counted(phrases: Sequence[str]) -> Tensor:
        together.append(len(phrases))
        return encode(phrases)

    monkeypatch.setattr(net, "encode_text", counted)
    segmenter = Segmenter(net, "cpu", rules=IdRules(65535, 65535))
    names = [f"label {i}" for i in range(1000)]
    assert segmenter.set_labels(names).names == names
    assert sum(together) == 1000 and max(together) <= 128
    with pytest.raises(ValueError, match=r"there is no label 'x'; there are: 'label 0', .* and 950 more$"):
        segmenter.labels.index("x")


@pytest.mark.parametrize("labels", [["red thing", "grass", "sky"], ["grass"]])
@pytest.mark.parametrize("output", [(60, 80), (47, 131)])
def test_a_probe_says_what_the_scores_say(labels: list[str], output: tuple[int, int]) -> None:
    segmenter = Segmenter(tiny_net(), device="cpu")
    specs = [LabelSpec(labels[0], prompts=("a tree", labels[0])), *(LabelSpec(name) for name in labels[1:])]
    segmenter.set_labels(specs)
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    image = segmenter.embed(rgb)
    scored = segmenter.score(image).at(output)
    query = segmenter.query(image, [labels[-1]], output)[0]
    for u, v in [(0, 0), (output[1] - 1, output[0] - 1), (13, 29), (70, 5)]:
        found = segmenter.probe(image, u, v, output)
        assert found.names == (*labels, *segmenter.contrast)[: max(2, len(labels))]
        assert sum(found.shares) == pytest.approx(1, abs=1e-5)
        for name in labels:
            assert found.shares[labels.index(name)] == pytest.approx(float(scored.scores(name)[v, u]), abs=1e-4)
        assert max(found.shares) == pytest.approx(float(scored.confidence[v, u]), abs=1e-4)
        if len(labels) > 1:  # the last label has one phrase, its name
            assert found.cosines[-1] == pytest.approx(float(query.cosine[v, u]), abs=1e-4)
    for u, v in [(output[1], 0), (0, output[0]), (-1, 0)]:
        with pytest.raises(LabelError, match="there is no pixel"):
            segmenter.probe(image, u, v, output)
