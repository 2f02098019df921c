"""Teaching a label: marks become vectors, and vectors compete."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rounding import assert_same_mask, ties
from tiny import tiny_net
from torch.nn import functional

from lseg_ros import Segmenter
from lseg_ros.inference.embedding import ImageEmbedding
from lseg_ros.inference.label_file import label_file_text, labels_from_text, read_label_file
from lseg_ros.inference.labels import IdRules, LabelError, LabelSet, LabelSpec, assign
from lseg_ros.inference.lessons import Lesson, Marks, with_lesson
from lseg_ros.inference.taught import MOST_MARKS, Taught, taught_from_entry
from lseg_ros.inference.teaching import rows_of
from lseg_ros.model.checksum import image_side_sha256

RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
LABELS = ["road", "grass", "sky", "car"]
WEIGHTS = "ab" * 32


def unit(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def none(width: int = 16) -> NDArray[np.float32]:
    return np.empty((0, width), np.float32)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(tiny_net(), "cpu")


@pytest.fixture(scope="module")
def seen(segmenter: Segmenter) -> ImageEmbedding:
    return segmenter.embed(RGB)


@pytest.fixture(autouse=True)
def untaught(segmenter: Segmenter) -> None:
    segmenter.set_labels(LABELS)


def loser(segmenter: Segmenter, seen: ImageEmbedding, u: int, v: int) -> str:
    """Returns the label that is second at a pixel."""
    shares = segmenter.probe(seen, u, v, (60, 100))
    return sorted(zip(shares.shares, shares.names, strict=True))[-2][1]


# Vectors of marks


def test_a_point_a_box_and_a_mask_become_unit_vectors(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    area = np.zeros((60, 100), bool)
    area[40:60, 70:100] = True
    marks = Marks(points=[(10, 10)], boxes=[(30, 5, 20, 10)], masks=[area])
    found = segmenter.marked(seen, marks, (60, 100))
    everywhere = [
        [(10, 10)],
        [(u, v) for v in range(5, 15) for u in range(30, 50)],
        [(u, v) for v in range(40, 60) for u in range(70, 100)],
    ]
    expected = [segmenter.features_at(seen, pixels).mean(0) for pixels in everywhere]
    expected = [row / np.linalg.norm(row) for row in expected]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_marks_of_a_small_mask_are_of_the_same_places(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    small = segmenter.marked(seen, Marks(points=[(10, 5)]), (30, 50))  # its center is between pixels 20, 21 and 10, 11
    expected = segmenter.features_at(seen, [(20.5, 10.5)])
    np.testing.assert_allclose(small, expected / np.linalg.norm(expected), atol=1e-5)


def test_marks_that_are_alike_share_a_vector(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    points = [(10, 10), (10, 10), (11, 10)]
    assert len(segmenter.marked(seen, Marks(points), (60, 100))) == 1
    rows = segmenter.features_at(seen, [(u, v) for v in range(60) for u in range(100)])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    farthest = int((rows @ rows[0]).argmin())
    assert rows[farthest] @ rows[0] < 0.9
    assert len(segmenter.marked(seen, Marks([(0, 0), (farthest % 100, farthest // 100)]), (60, 100))) == 2


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        (Marks([(100, 0)]), r"there is no pixel \(100, 0\) in 100x60"),
        (Marks([(0, -1)]), r"there is no pixel \(0, -1\)"),
        (Marks([(0.5, 1.0)]), "whole"),
        (Marks([1, 2]), "whole"),
        (Marks(boxes=[(0, 0, 0, 5)]), r"the box 0x5 at \(0, 0\) is not within 100x60"),
        (Marks(boxes=[(90, 0, 11, 5)]), r"the box 11x5 at \(90, 0\)"),
        (Marks(masks=[np.zeros((60, 100), bool)]), "marks no pixel"),
        (Marks(masks=[np.ones((30, 50), bool)]), "has 50x30 pixels, and the picture 100x60"),
    ],
)
def test_bad_marks(segmenter: Segmenter, seen: ImageEmbedding, marks: Marks, reason: str) -> None:
    with pytest.raises(LabelError, match=reason) as caught:
        segmenter.teach(seen, "road", marks)
    assert "\n" not in str(caught.value) and segmenter.labels.labels[0].taught is None


# What is taught competes


def test_a_marked_pixel_is_won(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    name = loser(segmenter, seen, 50, 30)
    before = segmenter.score(seen)
    assert before.labels.labels[before.labels.index(name)].class_id != before.mask[30, 50]
    labels = segmenter.teach(seen, name, Marks([(50, 30)]))
    after = segmenter.score(seen)
    assert after.mask[30, 50] == labels.labels[labels.index(name)].class_id
    assert [x.class_id for x in labels.labels] == [1, 2, 3, 4]  # ids are stable
    assert labels.version == before.labels.version + 1


def test_a_pixel_that_is_marked_against_a_label_is_lost(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    before = segmenter.score(seen)
    winner = before.labels.labels[int(before.mask[30, 50]) - 1].name
    segmenter.teach(seen, winner, Marks(), Marks([(50, 30)]))
    assert segmenter.score(seen).mask[30, 50] != before.mask[30, 50]


def test_a_new_label_can_compete_without_words(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    vectors = segmenter.marked(seen, Marks([(50, 30)]), (60, 100))
    lesson = Lesson(segmenter.weights, vectors, none(), alone=True)
    unreadable = "!" * 100  # too long for the text encoder, which does not read it
    labels = segmenter.set_labels(with_lesson(segmenter.labels, unreadable, lesson))
    assert labels.names == [*LABELS, unreadable]
    assert segmenter.score(seen).mask[30, 50] == 5
    with pytest.raises(LabelError, match="has 1001 characters; a taught one may have 1000"):
        segmenter.set_labels(with_lesson(segmenter.labels, "x" * 1001, lesson))
    words = [x.words for x in labels.labels]
    assert words == [("road",), ("grass",), ("sky",), ("car",), ()]


def test_what_nobody_taught_competes_exactly_as_before(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    confidence = segmenter.score(seen).confidence
    segmenter.teach(seen, "road", Marks([(50, 30)]))
    segmenter.set_labels(LABELS)
    np.testing.assert_array_equal(segmenter.score(seen).confidence, confidence)


@pytest.mark.numeric
def test_scores_thresholds_and_queries_hold_for_taught_labels(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    labels = segmenter.teach(seen, "road", Marks([(50, 30)]), Marks([(5, 5)]))
    result = segmenter.score(seen)
    scores = np.stack([result.scores(name) for name in LABELS])
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-5)
    assert_same_mask(result.mask, scores.argmax(0) + 1, ties(scores))
    shares = segmenter.probe(seen, 50, 30, (60, 100)).shares
    np.testing.assert_allclose(shares, scores[:, 30, 50], atol=1e-5)
    # A phrase competes with what was taught, not with the words alone.
    plain = segmenter.query(seen, ["bus"], (60, 100))[0].score
    segmenter.set_labels(LABELS)
    assert np.abs(segmenter.query(seen, ["bus"], (60, 100))[0].score - plain).max() > 0.01
    strict = [replace(x.spec(), threshold=1.0 if x.name == "road" else 0.0) for x in labels.labels]
    segmenter.set_labels(strict)
    assert segmenter.score(seen).mask[30, 50] == 255


def test_one_taught_label_competes_with_the_contrast(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    segmenter.set_labels(["road"])
    before = segmenter.score(seen).scores("road")[30, 50]
    segmenter.teach(seen, "road", Marks(), Marks([(50, 30)]))
    assert segmenter.score(seen).scores("road")[30, 50] < before
    assert segmenter.probe(seen, 0, 0, (60, 100)).names == ("road", "other")


def test_rows_by_hand() -> None:
    """With one mark and orthogonal words, the row moves along the mark.

    It moves by the gap and the margin, less the ridge's part.
    """
    basis = torch.eye(4)
    words = [torch.eye(4)[:1], torch.eye(4)[1:2]]
    mark = functional.normalize(torch.tensor([[0.0, 0.8, 0.6, 0.0]]), dim=1)
    taught = Taught(WEIGHTS, mark.numpy(), none(4))
    rows = rows_of(words, [taught, None], basis)
    torch.testing.assert_close(rows[0], words[0] + (0.8 + 0.1) / 1.25 * mark, atol=1e-3, rtol=0)
    torch.testing.assert_close(rows[1], words[1])
    # Without words it begins level with the rival.
    alone = rows_of([torch.empty(0, 4), words[1]], [replace(taught, alone=True), None], basis)
    torch.testing.assert_close(alone[0], (0.8 + 0.1 / 1.25) * mark, atol=1e-3, rtol=0)
    # Marks that are won already move nothing.
    won = rows_of([words[1], words[0]], [taught, None], basis)
    torch.testing.assert_close(won[0], words[1])


# Adding up


def test_lessons_add_up_and_are_forgotten(segmenter: Segmenter) -> None:
    labels = segmenter.labels
    one, two = unit(1, 16), unit(2, 16, seed=1)
    specs = with_lesson(labels, "grass", Lesson(WEIGHTS, one, none()))
    labels = assign(labels, specs, IdRules())
    specs = with_lesson(labels, " grass ", Lesson(WEIGHTS, none(), two))
    taught = specs[1].taught
    assert taught is not None and taught.toward.shape == (1, 16) and taught.against.shape == (2, 16)
    labels = assign(labels, specs, IdRules())
    again = with_lesson(labels, "grass", Lesson(WEIGHTS, two, none(), forget=True))[1].taught
    assert again == Taught(WEIGHTS, two, none())
    assert with_lesson(labels, "grass", Lesson(WEIGHTS, none(), none(), forget=True))[1].taught is None


def test_lessons_that_are_refused() -> None:
    labels = assign(LabelSet(), [LabelSpec("road")], IdRules())
    with pytest.raises(LabelError, match="there is no label 'gravel'"):
        with_lesson(labels, "gravel", Lesson(WEIGHTS, none(), unit(1, 16)))
    with pytest.raises(LabelError, match="'road' cannot be taught this: .* without its words"):
        with_lesson(labels, "road", Lesson(WEIGHTS, none(), unit(1, 16), alone=True))
    with pytest.raises(LabelError, match=f"33 vectors are taught; a label may have {MOST_MARKS}"):
        with_lesson(labels, "road", Lesson(WEIGHTS, unit(20, 16), unit(13, 16)))
    taught = assign(labels, with_lesson(labels, "road", Lesson(WEIGHTS, unit(1, 16), none())), IdRules())
    with pytest.raises(LabelError, match="'road' was taught with other weights"):
        with_lesson(taught, "road", Lesson("cd" * 32, unit(1, 16), none()))


# Weights


def test_the_checksum_is_of_the_image_side() -> None:
    net = tiny_net()
    first = image_side_sha256(net)
    assert image_side_sha256(tiny_net().to(memory_format=torch.channels_last)) == first
    with torch.no_grad():
        net.decoder.head.weight.mul_(1.001)
    assert image_side_sha256(net) != first


def test_other_weights_are_refused_and_the_old_labels_stay(segmenter: Segmenter, seen: ImageEmbedding) -> None:
    specs = [x.spec() for x in segmenter.teach(seen, "road", Marks([(50, 30)])).labels]
    other = Segmenter(tiny_net(seed=1), "cpu")
    before = other.set_labels(["road"])
    with pytest.raises(LabelError, match="the label 'road' was taught with other weights than those in use"):
        other.set_labels(specs)
    assert other.labels is before
    narrow = LabelSpec("road", taught=Taught(segmenter.weights, unit(1, 8), none(8)))
    with pytest.raises(LabelError, match="vectors of 8 numbers, and this model's have 16"):
        segmenter.set_labels([narrow])


# Label files


def test_a_label_file_holds_exactly_what_was_taught(segmenter: Segmenter, seen: ImageEmbedding, tmp_path: Path) -> None:
    labels = segmenter.teach(seen, "road", Marks([(50, 30), (5, 55)]), Marks(boxes=[(0, 0, 9, 9)]))
    mask = segmenter.score(seen).mask
    specs = [x.spec() for x in labels.labels]
    path = tmp_path / "labels.yaml"
    path.write_text(label_file_text(specs))
    assert read_label_file(path) == specs
    fresh = Segmenter(tiny_net(), "cpu")
    fresh.set_labels(read_label_file(path))
    assert_same_mask(fresh.segment(RGB).mask, mask, np.zeros(mask.shape, bool))


def test_every_kind_of_label_survives_a_label_file() -> None:
    specs = [
        LabelSpec("sky"),
        LabelSpec("plant", 7, ("bush", "tree"), 0.4, False, (0, 200, 0)),
        LabelSpec("gravel", taught=Taught(WEIGHTS, unit(2, 16), unit(1, 16, seed=3), alone=True)),
        LabelSpec("other", background=True),
    ]
    assert labels_from_text(label_file_text(specs), "a file") == specs


GOOD = Taught(WEIGHTS, unit(1, 16), none()).entry()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([], "not a mapping with 'weights'"),
        ({"for": GOOD["for"]}, "not a mapping with 'weights'"),
        (GOOD | {"weights": "xyz"}, "'xyz'; it must be 64 hexadecimal digits"),
        (GOOD | {"more": 1}, "unknown key 'more'; known: against, alone, for, weights"),
        (GOOD | {"for": []}, "nothing is taught"),
        (GOOD | {"for": "abc"}, "'for' is not a list of texts"),
        (GOOD | {"for": ["?"]}, r"for\[0\] is no vector"),
        (GOOD | {"for": ["AAA="]}, "length 0"),
        (GOOD | {"for": ["AHw="]}, "length inf"),
        (GOOD | {"for": ["AH4="]}, "length nan"),
        (GOOD | {"against": ["ADw="]}, "16 and 1 numbers"),
        (GOOD | {"for": [*GOOD["for"], "ADw="]}, r"\[1, 16\] numbers"),
        (GOOD | {"alone": "yes"}, "'alone' is 'yes', and not true or false"),
        ({"weights": WEIGHTS, "against": GOOD["for"], "alone": True}, "without its words, and no vector is for it"),
        (GOOD | {"for": GOOD["for"] * 33}, "33 vectors"),
    ],
)
def test_bad_entries(entry: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        taught_from_entry(entry)
    with pytest.raises(LabelError, match=f"the label 'a' in it has a value that cannot be used: .*{reason}"):
        labels_from_text(str({"labels": [{"name": "a", "taught": entry}]}), "it")
