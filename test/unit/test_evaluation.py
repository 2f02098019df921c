"""The analyses of `lseg eval`, compared with figures computed by hand."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from rounding import assert_same_mask, ties_of
from tiny import HashText, tiny_net
from torch import Tensor

from lseg_ros import Segmenter
from lseg_ros.data.augmentation import resize_as_hsnet
from lseg_ros.data.common import IGNORE, Dataset, Sample
from lseg_ros.data.config_file import ConfigError
from lseg_ros.data.episodes import Draw, EpisodeSet
from lseg_ros.evaluation.atlas import PER_CLASS, MapText, PixelSample, draw_map, principal_plane
from lseg_ros.evaluation.calibration import BINS, CalibrationMeter
from lseg_ros.evaluation.config import EvalConfig, check_against, check_words, read_eval_config, with_training
from lseg_ros.evaluation.dense import evaluate, measure
from lseg_ros.evaluation.few_shot import SIDE, measure_episodes
from lseg_ros.evaluation.gallery import Gallery, Picture
from lseg_ros.evaluation.metrics import Confusion
from lseg_ros.evaluation.nearest import NearestMeter, Word, compare_unseen
from lseg_ros.evaluation.scoring import Scorer, target_of_cells
from lseg_ros.evaluation.subset import Subset
from lseg_ros.evaluation.text_features import ensemble, fill, shuffled
from lseg_ros.inference.preprocess import Geometry

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("one_thread")]

CONFIGS = Path(__file__).parents[2] / "config"


class Noise(Dataset):
    """Three pictures of noise with unrelated masks."""

    name = "noise"

    def __init__(self, labels: list[str]) -> None:
        self.phrases = [[label, f"{label}s"] for label in labels]

    def __len__(self) -> int:
        return 3

    def sample(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        mask = rng.integers(0, len(self.phrases), (30, 44)).astype(np.uint8)
        mask[:4] = IGNORE
        return rng.integers(0, 256, (30, 44, 3)).astype(np.uint8), mask


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(tiny_net(), "cpu")


def test_calibration_by_hand() -> None:
    meter = CalibrationMeter()
    meter.add(np.array([[0.05, 0.5]]), np.array([[False, True]]))
    meter.add(np.array([0.55, 1.0]), np.array([False, True]))
    result = meter.result()
    assert [b.pixels for b in result.bins] == [int(i in (0, 7, 8, 14)) for i in range(BINS)]
    assert result.bins[7].low == pytest.approx(7 / 15) and result.bins[7].high == pytest.approx(8 / 15)
    assert (result.bins[8].confidence, result.bins[8].accuracy) == pytest.approx((0.55, 0))
    assert np.isnan(result.bins[1].accuracy)
    assert result.error == pytest.approx((0.05 + 0.5 + 0.55 + 0) / 4)
    assert result.over_confidence == pytest.approx((0.05 - 0.5 + 0.55 + 0) / 4)


def test_calibration_within_a_bin_only_means_count() -> None:
    meter = CalibrationMeter()
    meter.add(np.full(10, 0.9, np.float32), np.arange(10) < 9)
    assert meter.result().error == pytest.approx(0, abs=1e-6)


def test_calibration_edges_and_emptiness() -> None:
    assert np.isnan(CalibrationMeter().result().error)
    meter = CalibrationMeter()
    meter.add(np.array([0.0, 1 / BINS, 1.0]), np.array([True, True, True]))
    assert [b.pixels for b in meter.result().bins] == [2, *[0] * 13, 1]


def test_nearest_words_by_hand() -> None:
    text = torch.eye(3)  # a, b and a further word
    meter = NearestMeter(2, text)
    pixels = torch.tensor([[1.0, 0, 0], [0.6, 0, 0.8], [0, 0.6, 0.8], [0, 1, 0]]).T[:, None]  # [3,1,4]
    meter.add(pixels, np.array([[0, 0, 1, IGNORE]], np.uint8))
    words = [Word("a", "seen"), Word("b", "unseen"), Word("c", "unknown")]
    first, second = meter.result(words)
    assert (first.label, first.pixels, first.rank, first.share) == ("a", 2, 1, 0.5)
    assert [(n.word.text, n.share) for n in first.nearest] == [("a", 0.5), ("c", 0.5)]
    # Their mean is along (1.6, 0, 0.8).
    assert [n.cosine for n in first.nearest] == pytest.approx([2 / 5**0.5, 1 / 5**0.5])
    assert (second.label, second.rank, second.share) == ("b", 2, 0)
    assert [(n.word.origin, n.share) for n in second.nearest] == [("unknown", 1)]


def test_a_class_without_pixels_has_no_nearest_words() -> None:
    meter = NearestMeter(2, torch.eye(2))
    meter.add(torch.tensor([[[0.0]], [[1.0]]]), np.array([[1]], np.uint8))
    assert [found.label for found in meter.result([Word("a", "seen"), Word("b", "seen")])] == ["b"]


def test_unseen_labels_against_their_stand_in() -> None:
    labels = ["road", "car", "van", "bus"]
    text = torch.tensor([[1.0, 0], [0, 1], [0.6, 0.8], [0, -1]])
    unnamed = Confusion(4)  # nobody predicts van or bus
    truth = np.array([0, 0, 1, 2, 2, 2, 2], np.uint8)
    unnamed.add(truth, np.array([0, 1, 1, 1, 1, 1, 0]))
    (van,) = compare_unseen(labels, ["van", "bus"], text, [0.5, 0.5, 0.25, 0.0], unnamed)
    assert (van.label, van.iou_named, van.stand_in) == ("van", 0.25, "car")
    assert van.iou_stand_in == pytest.approx(3 / 6)  # 4 pixels of van, 5 predicted as car, 3 both
    assert van.taken_by == [("car", 0.75), ("road", 0.25)]


def test_templates_and_their_mean() -> None:
    assert fill("a {} {x}", "{0}") == "a {0} {x}"
    found = ensemble([torch.tensor([[1.0, 0]]), torch.tensor([[0, 1.0]])])
    assert found.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5])]


@pytest.mark.parametrize("rows", [2, 3, 11])
def test_shuffled_features_have_all_changed_places(rows: int) -> None:
    features = torch.arange(rows)[:, None]
    found = shuffled(features)
    assert sorted(found[:, 0].tolist()) == list(range(rows)) and not (found == features).any()
    assert torch.equal(found, shuffled(features))


def test_principal_plane() -> None:
    rows = np.array([[0.0, 3, 1], [0, -3, 1], [2, 0, 1], [-2, 0, 1]])
    xy, explained = principal_plane(rows)
    np.testing.assert_allclose(xy, [[3, 0], [-3, 0], [0, 2], [0, -2]], atol=1e-12)
    assert explained == pytest.approx((18 / 26, 8 / 26))
    flat, share = principal_plane(np.ones((1, 5)))
    assert flat.tolist() == [[0, 0]] and share == (0, 0)


def test_atlas_samples_every_class_alike() -> None:
    sample = PixelSample(3)
    for i in range(20):
        embedding = torch.full((4, 8, 8), float(i))
        target = np.zeros((8, 8), np.uint8)
        target[0], target[1] = 1, IGNORE
        sample.add(embedding, target)
    classes, rows = sample.result()
    assert np.bincount(classes).tolist() == [PER_CLASS, PER_CLASS]
    assert set(rows[classes == 0, 0]) == set(range(20))  # late images count no more than early ones
    atlas = draw_map([MapText("a", 0, True)], torch.zeros(1, 4), sample)
    assert atlas.text_xy.shape == (1, 2) and atlas.pixel_xy.shape == (2 * PER_CLASS, 2)


def picture(mean_iou: float, height: int = 4, width: int = 6) -> Picture:
    ids = np.zeros((height, width), np.uint8)
    rgb = np.zeros((height, width, 3), np.uint8)
    return Picture(str(mean_iou), mean_iou, rgb, ids, ids, np.zeros((height, width), np.float32), ["a"])


def test_gallery_keeps_the_worst_and_the_best() -> None:
    gallery = Gallery()
    for value in np.random.default_rng(0).permutation(20) / 20:
        gallery.add(picture(float(value)))
    gallery.add(picture(float("nan")))
    worst, best = gallery.result()
    assert [p.mean_iou for p in worst] == [0, 0.05, 0.1, 0.15] and [p.mean_iou for p in best] == [0.95, 0.9, 0.85, 0.8]


def test_gallery_of_few_pictures_shows_each_once_and_small() -> None:
    gallery = Gallery()
    for value in (0.5, 0.2, 0.9):
        gallery.add(picture(value, 1000, 2000))
    worst, best = gallery.result()
    assert [p.mean_iou for p in worst] == [0.2, 0.5] and [p.mean_iou for p in best] == [0.9]
    assert best[0].image.shape == (210, 420, 3) and best[0].confidence.shape == best[0].target.shape == (210, 420)


def test_some_labels_of_a_data_set() -> None:
    data = Noise(["a", "b", "c"])
    subset = Subset(data, ["c", "a"])
    assert subset.labels == ["c", "a"] and subset.phrases[0] == ["c", "cs"] and len(subset) == 3
    (image, mask), (same, all_) = subset.sample(1), data.sample(1)
    np.testing.assert_array_equal(image, same)
    np.testing.assert_array_equal(mask, np.select([all_ == 2, all_ == 0], [0, 1], IGNORE))
    with pytest.raises(ValueError, match="'d' is none of the labels of noise; they are: a, b, c"):
        Subset(data, ["d"])
    with pytest.raises(ValueError, match="'a' is there twice"):
        Subset(data, ["a", "a"])


def test_scores_are_those_of_the_segmenter(scorer: Scorer) -> None:
    image, _ = Noise(["a"]).sample(0)
    words = ["road", "grass", "sky"]
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(words, [0, 1, 2])
    expected = segmenter.segment(image)
    labels, confidence = scorer.best(scorer.embed(image), scorer.encode_text(words))
    assert_same_mask(labels, expected.mask, ties_of(expected))
    np.testing.assert_allclose(confidence, expected.confidence, atol=1e-5)
    np.testing.assert_array_equal(labels, scorer.labels(scorer.embed(image), scorer.encode_text(words)))


def test_multiscale_takes_words_that_are_there_twice(scorer: Scorer) -> None:
    image, _ = Noise(["a"]).sample(0)
    segmenter = Segmenter(tiny_net(), "cpu")
    segmenter.set_labels(["road", "sky"], [0, 2])
    expected = segmenter.segment_multiscale(image)
    # Products with three texts and with two round differently, and the logits are sums over all passes.
    tied = ties_of(expected, margin=1e-4)
    assert_same_mask(scorer.multiscale(image, ["road", "road", "sky"]), expected.mask, tied)


def test_targets_of_cells() -> None:
    target = np.arange(32, dtype=np.uint8).reshape(4, 8)
    found = target_of_cells(target, Geometry((4, 8), (32, 64), (32, 64)), (2, 3))
    np.testing.assert_array_equal(found, target[np.ix_([0, 3], [0, 4, 7])])
    padded = target_of_cells(target, Geometry((4, 8), (16, 32), (32, 32)), (3, 2))
    assert padded.tolist() == [[0, 7], [IGNORE, IGNORE], [IGNORE, IGNORE]]


def iou(target: NDArray[np.uint8], predicted: NDArray[np.uint8], label: int) -> float:
    known = target != IGNORE
    true, guess = known & (target == label), known & (predicted == label)
    return float((true & guess).sum() / (true | guess).sum())


def test_one_pass_over_the_images_serves_all(scorer: Scorer) -> None:
    labels, others = ["road", "sky", "car"], ["street", "heavens", "motorcar"]
    config = EvalConfig({}, words={"other": others}, unseen=["car"], vocabulary=["sky", "tree"], templates=["a {}"])
    data = Noise(labels)
    found = measure(scorer, data, config, range(3))
    predicted: dict[str, NDArray[np.uint8]] = {}
    target = np.stack([data.sample(i)[1] for i in range(3)])
    known = target != IGNORE
    slack: dict[str, float] = {}  # a pixel of no clear label moves an IoU by what one pixel is worth
    segmenter = Segmenter(tiny_net(), "cpu")
    for name, words in {"own": labels, "other": others, "a": [f"a {w}" for w in labels], "seen": labels[:2]}.items():
        segmenter.set_labels(words, list(range(len(words))), force=True)
        results = [segmenter.segment(data.sample(i)[0]) for i in range(3)]
        predicted[name] = np.stack([result.mask for result in results])
        tied = np.stack([ties_of(result) for result in results]) & known
        assert tied.sum() < 10
        slack[name] = 1e-6 + tied.sum() / np.bincount(target[known]).min()
    for name, metrics in (
        ("own", found.metrics),
        ("other", found.synonyms[0].metrics),
        ("a", found.templates[0].metrics),
        ("own", found.encoders[0].metrics),
        ("own", evaluate(scorer, data)),
        ("other", evaluate(scorer, data, others)),
    ):
        assert metrics.iou == pytest.approx([iou(target, predicted[name], i) for i in range(3)], abs=slack[name])
        assert metrics.pixel_accuracy == pytest.approx((predicted[name] == target)[known].mean(), abs=slack[name])
    assert found.synonyms[0].kept == pytest.approx(found.synonyms[0].metrics.mean_iou / found.metrics.mean_iou)
    (car,) = found.unseen
    seen = predicted["seen"][target == 2]
    taken_by = {"road": (seen == 0).mean(), "sky": (seen == 1).mean()}
    assert dict(car.taken_by) == pytest.approx(taken_by, abs=slack["seen"])
    assert [word.text for near in found.nearest for word in [near.nearest[0].word] if word.origin == "unknown"] != []
    assert {n.word.text: n.word.origin for c in found.nearest for n in c.nearest}["road"] == "seen"
    assert [image.index for image in found.images] == [0, 1, 2] and found.multiscale is None
    assert found.atlas is not None and [t.text for t in found.atlas.texts] == labels + others


def test_only_some_images(scorer: Scorer) -> None:
    data = Noise(["road", "sky"])
    found = measure(scorer, data, EvalConfig({}, vocabulary=[]), [2])
    assert found.counts.sum() == (data.sample(2)[1] != IGNORE).sum() and found.unseen == []
    assert evaluate(scorer, data, indices=[2]) == found.metrics


class Bare(Noise):
    """Pictures without a label, or with a single labeled pixel that no cell of the embedding covers."""

    def __init__(self, pixels: int) -> None:
        super().__init__(["road", "sky"])
        self.pixels = pixels

    def sample(self, index: int) -> Sample:
        image, mask = super().sample(index)
        bare = np.full_like(mask, IGNORE)
        bare[15, 1 : 1 + self.pixels] = 0
        return image, bare


def test_nothing_to_measure(scorer: Scorer) -> None:
    for of in (lambda data: evaluate(scorer, data), lambda data: measure(scorer, data, EvalConfig({}), range(3))):
        with pytest.raises(ValueError, match="no pixel of the images of noise has one of the labels"):
            of(Bare(0))


def test_regions_smaller_than_a_cell(scorer: Scorer) -> None:
    found = measure(scorer, Bare(1), EvalConfig({}), range(1))
    assert found.counts.sum() == 1 and found.nearest == [] and found.atlas is None


class Episodes(EpisodeSet):
    """Two classes, three episodes."""

    def __init__(self) -> None:
        super().__init__("test", 0, 0)
        self.labels, self.class_ids = ["cat", "dog", "cow"], [1, 2]

    def __len__(self) -> int:
        return 3

    def _draw(self, index: int, rng: np.random.RandomState) -> Draw:
        return Draw([1, 2, 2][index], str(index), ())

    def _read(self, file: str, class_id: int) -> Sample:
        image, mask = Noise(["a", "b"]).sample(int(file))
        return image, mask


def test_episodes_are_measured_as_by_the_original(scorer: Scorer) -> None:
    scorer = Scorer(tiny_net(), "cpu", input_size=SIDE)
    found = measure_episodes(scorer, Episodes(), range(3))
    inter, union, tied = np.zeros((3, 2)), np.zeros((3, 2)), 0
    segmenter = Segmenter(tiny_net(), "cpu", input_size=SIDE)
    for i in range(3):
        episode = Episodes().episode(i)
        image, mask = resize_as_hsnet((episode.image, episode.mask), SIDE)
        segmenter.set_labels(["others", episode.class_name], [0, 1], force=True)
        result = segmenter.segment(image)
        predicted = result.mask
        tied += (ties_of(result) & (mask != IGNORE)).sum()
        for side in (0, 1):
            true, guess = (mask != IGNORE) & (mask == side), (mask != IGNORE) & (predicted == side)
            inter[episode.class_id, side] += (true & guess).sum()
            union[episode.class_id, side] += (true | guess).sum()
    expected = inter[1:, 1] / union[1:, 1]
    # A pixel of no clear label moves an IoU by what one pixel is worth; of a million there are a few dozen.
    assert tied < 1e-4 * union.sum()
    slack = 1e-6 + tied / union[1:].min()
    assert found.metrics.iou == pytest.approx({1: expected[0], 2: expected[1]}, abs=slack)
    assert found.metrics.mean_iou == pytest.approx(expected.mean(), abs=slack)
    assert found.metrics.fb_iou == pytest.approx((inter.sum(0) / union.sum(0)).mean(), abs=slack)
    assert found.episodes == 3 and found.labels == {1: "dog", 2: "cow"}


def test_pictures_of_episodes_are_square() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 200
    mask = np.array([[0, 0, 1, 1], [IGNORE, 0, 1, 1]], np.uint8)
    resized, ids = resize_as_hsnet((image, mask), SIDE)
    assert resized.shape == (SIDE, SIDE, 3) and ids.shape == (SIDE, SIDE)
    assert (ids == 1).mean() == 0.5 and (ids == IGNORE).mean() == 1 / 8
    assert resized[0, 0, 0] == 0 and resized[0, -1, 0] == 200 and 0 < resized[0, 240, 0] < 200


@pytest.mark.parametrize("path", sorted((CONFIGS / "eval").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configurations_can_be_read(path: Path) -> None:
    config = read_eval_config(path)
    assert "dataset" in config.data or config.data["layers"]
    if path.name == "camvid_test.yaml":
        assert all(len(set(words)) == 11 for words in config.words.values()) and len(config.words) == 4


def strings(value: object) -> Iterator[str]:
    """Returns all texts anywhere in a YAML file."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for entry in value:
            yield from strings(entry)
    elif isinstance(value, str):
        yield value


def test_words_kept_for_measuring_are_not_training_text() -> None:
    """These words measure how well other words work. They would show nothing if the model had been trained on them."""
    kept = {word for words in read_eval_config(CONFIGS / "eval" / "camvid_test.yaml").words.values() for word in words}
    for path in (CONFIGS / "train").glob("*.yaml"):
        trained = kept & set(strings(yaml.safe_load(path.read_text(encoding="utf-8"))))
        assert not trained, f"{path.name} has {sorted(trained)}"
    things = read_eval_config(CONFIGS / "eval" / "voc_animals.yaml").words["other words"][:20]
    for name in ("lseg_mini.yaml", "words_mini.yaml"):
        text = set(strings(yaml.safe_load((CONFIGS / "train" / name).read_text(encoding="utf-8"))))
        assert not text & set(things), name


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{data: {dataset: camvid}, word: {}}", "unknown entry 'word'; known are data, labels, words, unseen"),
        ("{words: {}}", "'data' is missing or no mapping"),
        ("{data: camvid}", "'data' is missing or no mapping"),
        ("{data: {}, labels: []}", "'labels' is empty; leave it out"),
        ("{data: {}, labels: road}", "'labels' is no list of texts"),
        ("{data: {}, words: [a]}", "'words' holds no mapping"),
        ("{data: {}, words: {british: [yes, a]}}", "'words', 'british' holds True, which is no text; put it in quotes"),
        ("{data: {}, vocabulary: ['']}", "'vocabulary' holds '', which is no text"),
        ("{data: {}, templates: [a photo]}", "the template 'a photo' has no {}"),
        ("[1]", "holds no mapping of entries"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_bad_configurations(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"a\.yaml") as caught:
        read_eval_config(path)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_configurations_that_do_not_fit_the_data() -> None:
    config = EvalConfig({}, words={"british": ["a", "b"]}, unseen=["sky"])
    check_against(config, ["road", "sky"], "x.yaml")
    with pytest.raises(
        ConfigError, match=r"x\.yaml: the list 'british' has 2 words and the data 3 labels; .*: road, s"
    ):
        check_against(config, ["road", "sky", "car"], "x.yaml")
    with pytest.raises(ConfigError, match="'sky' is none of the labels that are measured; they are: road, car"):
        check_against(config, ["road", "car"], "x.yaml")
    with pytest.raises(ConfigError, match="there is one label alone"):
        check_against(replace(config, words={}, unseen=None), ["road"], "x.yaml")
    with pytest.raises(ValueError, match="--labels has nothing for 'sky'"):
        check_words(["a", ""], ["road", "sky"], "--labels")
    with pytest.raises(ValueError, match="--labels has 'a' twice"):
        check_words(["a", "a"], ["road", "sky"], "--labels")


def test_what_training_had() -> None:
    config = with_training(EvalConfig({}), ["road", "sky"], {"street", "road"})
    assert config.unseen == ["sky"] and config.seen == ["road", "street"]


def test_texts_are_encoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counting(HashText):
        def forward(self, phrases: Any) -> Tensor:
            sizes.append(len(phrases))
            return super().forward(phrases)

    net = tiny_net()
    net.text_encoder = Counting()
    text = Scorer(net, "cpu").encode_text([str(i) for i in range(130)])
    assert text.shape == (130, 16) and sizes == [64, 64, 2]
