"""The trainer on a tiny data set made by the tests."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import tiny_net
from torch.nn import functional
from training_run import BLOCKS, CONFIG, LABELS, write_data

from lseg_ros import Segmenter, load_model
from lseg_ros.data import common, layers
from lseg_ros.data.catalogue import open_dataset
from lseg_ros.data.common import IGNORE, Dataset
from lseg_ros.data.config_file import ConfigError
from lseg_ros.data.episodes import EpisodeSet
from lseg_ros.model.net import LSegNet
from lseg_ros.training.config import SourceConfig, TrainConfig
from lseg_ros.training.config_reader import read_config
from lseg_ros.training.objective import _jaccard_loss
from lseg_ros.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_is_known")

CONFIGS = Path(__file__).parents[2] / "config"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def blocks(data: Path, **changes: object) -> Dataset:
    """The data set of the run."""
    found = open_dataset({**BLOCKS, **changes}, data, "here")
    assert not isinstance(found, EpisodeSet)
    return found


def accuracy(net: LSegNet, dataset: Dataset) -> float:
    """Returns the share of pixels that get their label."""
    segmenter = Segmenter(net, "cpu")
    ids = [label.class_id for label in segmenter.set_labels(dataset.labels).labels]
    right = []
    for i in range(len(dataset)):
        image, target = dataset.sample(i)
        known = target != IGNORE
        right.append(np.array(ids)[target[known]] == segmenter.segment(image).mask[known])
    return float(np.concatenate(right).mean())


def test_it_learns_and_the_weights_say_what_they_are(data: Path, tmp_path: Path) -> None:
    path = Trainer(CONFIG, data, tmp_path / "out").run()
    net = load_model(path)
    assert net.licence == "CC0-1.0"
    assert accuracy(net, blocks(data)) > accuracy(tiny_net(), blocks(data)) + 0.3
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 1 and losses[0] < 1.0


def test_batches_depend_on_seed_and_step_alone(data: Path, tmp_path: Path) -> None:
    one, other = (Trainer(CONFIG, data, tmp_path / name) for name in ("a", "b"))
    assert torch.equal(one.batches.batch(7).images, other.batches.batch(7).images)
    assert torch.equal(one.batches.batch(7).parts[0].text, other.batches.batch(7).parts[0].text)
    assert not torch.equal(one.batches.batch(7).images, one.batches.batch(8).images)
    batch = one.batches.batch(1)
    (part,) = batch.parts
    assert batch.images.shape == (4, 3, 32, 32) and part.target.shape == (4, 32, 32)
    assert set(part.target.unique().tolist()) <= {*range(len(part.text)), IGNORE}


def test_labels_of_different_sources_do_not_compete(data: Path, tmp_path: Path) -> None:
    other = {"images": "images", "layers": [{"masks": "masks", "labels": {0: "crimson", 1: "emerald"}}]}
    config = replace(CONFIG, sources={"one": SourceConfig(BLOCKS), "other": SourceConfig(other, 0.5)}, batch=30)
    batch = Trainer(config, data, tmp_path).batches.batch(0)
    assert len(batch.images) == 30 and sum(len(part.target) for part in batch.parts) == 30
    assert [len(part.text) for part in batch.parts] == [3, 2]


@pytest.mark.numeric
def test_the_loss_is_that_of_the_whole_network(data: Path, tmp_path: Path) -> None:
    """The trainer's shortcuts (it normalizes late and reads only some pixels) give the paper's loss."""
    run = Trainer(replace(CONFIG, pixel_step=3, balance=0.0), data, tmp_path)
    run.net.eval()
    batch = run.batches.batch(0)
    (part,) = batch.parts
    logits = run.net(batch.images, part.text)
    rows, columns = part.grid[:, 0, 1], part.grid[0, :, 0]
    y, x = (((v + 1) / 2 * 31).round().long() for v in (rows, columns))
    assert (y.diff() == 3).all() and (x.diff() == 3).all()
    expected = functional.cross_entropy(logits[:, :, y][..., x], part.target, ignore_index=IGNORE)
    assert run.objective(batch).item() == pytest.approx(expected.item(), rel=0.02)  # bfloat16


@pytest.mark.numeric
def test_rare_labels_weigh_more_where_asked(data: Path, tmp_path: Path) -> None:
    run = Trainer(replace(CONFIG, balance=0.5), data, tmp_path)
    target = torch.tensor([0] * 64 + [1] * 16 + [IGNORE] * 5)
    weights = run.objective._class_weights(target, 3)
    assert weights[1] / weights[0] == pytest.approx(2) and weights[2] / weights[0] == pytest.approx(8)
    assert (weights[:2] * torch.tensor([64, 16])).sum() == pytest.approx(80)


@pytest.mark.numeric
def test_the_jaccard_loss_is_one_less_the_mean_iou_of_what_is_there() -> None:
    target = torch.tensor([[[0, 0, 1, IGNORE]]])
    sure = torch.full((1, 3, 1, 4), -100.0)
    sure[0, [0, 1, 1, 2], 0, [0, 1, 2, 3]] = 100.0  # 0 1 1 and 2, which is not counted
    assert _jaccard_loss(sure, target).item() == pytest.approx(1 - (1 / 2 + 1 / 2) / 2)
    even = torch.zeros(1, 2, 1, 4)
    assert _jaccard_loss(even, target).item() == pytest.approx(1 - (1 / 2.5 + 0.5 / 2) / 2)
    assert _jaccard_loss(even, torch.full((1, 1, 4), IGNORE)).item() == 0


def test_the_jaccard_loss_is_added_where_asked(data: Path, tmp_path: Path) -> None:
    run = Trainer(replace(CONFIG, balance=0.0), data, tmp_path)
    run.net.eval()
    batch = run.batches.batch(0)
    plain = run.objective(batch).item()
    run.objective.jaccard = 2.0
    more = run.objective(batch)
    assert plain < more.item() < plain + 2
    more.backward()
    gradient = run.net.decoder.head.weight.grad
    assert gradient is not None and torch.isfinite(gradient).all()


def test_layers_fill_what_the_first_leaves_open(data: Path) -> None:
    (data / "second").mkdir()
    for i in range(6):
        cv2.imwrite(str(data / "second" / f"{i}.png"), np.full((72, 96), 5, np.uint8))
    both = [
        {"masks": "masks", "labels": {0: ["red thing"]}},
        {"masks": "second", "labels": {5: "rest", 6: "red thing"}},
    ]
    dataset = blocks(data, layers=both)
    assert dataset.labels == ["red thing", "rest"]
    _, merged = dataset.sample(0)
    original = cv2.imread(str(data / "masks" / "0.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(merged, np.where(original == 0, 0, 1))


def test_words_and_what_is_left_out(data: Path) -> None:
    words = {"red thing": ["red thing", "crimson"], "unused": ["unused"]}
    dataset = open_dataset(BLOCKS, data, "here", words, without=["blue thing"])
    assert not isinstance(dataset, EpisodeSet)
    assert dataset.phrases == [["red thing", "crimson"], ["green thing", "lawn"]]
    original = cv2.imread(str(data / "masks" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert original is not None
    np.testing.assert_array_equal(dataset.sample(0)[1] == IGNORE, original >= 2)
    assert len(blocks(data, leave_out=["[0-3].png"])) == 2 and len(blocks(data, only=["1*", "5.*"])) == 2
    with pytest.raises(FileNotFoundError, match="no image is left"):
        blocks(data, only=["x*"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"imagse": "x"}, "unknown 'imagse'"),
        ({"layers": []}, "no layers"),
        ({"layers": "masks"}, "'layers' is a list"),
        ({"layers": [{"masks": "masks"}]}, "a layer has masks and labels"),
        ({"layers": [{"masks": "masks", "labels": {300: "x"}}]}, "300 is no id"),
        ({"layers": [{"masks": "masks", "labels": {1: [" "]}}]}, "not a phrase"),
        ({"dataset": "nowhere"}, "no data set 'nowhere'; known: ade20k"),
        ({"dataset": "folder"}, "does not take this"),
        ({"dataset": ["folder"]}, r"no data set \['folder'\]"),
        ({"layers": [{"masks": "masks", "labels": ["sky", "road"]}]}, "'labels' gives ids their labels"),
        ({"layers": [{"masks": "masks", "labels": None}]}, "'labels' gives ids their labels"),
        ({"layers": [{"masks": "masks", "labels": {1: False}}]}, "label of id 1 is False, and not a phrase"),
        ({"layers": [{"masks": ["masks"], "labels": LABELS}]}, r"'masks' is a folder, and here is \['masks'\]"),
        ({"images": 5}, "'images' is a folder, and here is 5"),
    ],
)
def test_bad_data_sets(data: Path, change: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: .*{reason}"):
        blocks(data, **change)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"dataset": "coco", "split": 2017}, "'split' is 2017, and should be a text"),
        ({"dataset": "pascal5i", "fold": "0", "split": "trn"}, "'fold' is '0', and should be a whole number"),
        ({"dataset": "pascal5i", "fold": 0, "split": "train"}, "'split' is 'train', and should be one of trn, val, te"),
        ({"dataset": "fss1000", "split": "trn", "shots": True}, "'shots' is True, and should be a whole number"),
        ({"dataset": "ade20k", "split": "validation", "quirks": 1}, "'quirks' is 1, and should be true or false"),
    ],
)
def test_entries_of_the_wrong_kind(tmp_path: Path, entry: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: {reason}"):
        open_dataset(entry, tmp_path, "here")


def test_sources_that_teach_nothing_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"'without' has 'blue', and no source has this label; there are: \['blue thi"
    ):
        Trainer(replace(CONFIG, without=("blue",)), data, tmp_path)
    with pytest.raises(ConfigError, match=r"the source 'blocks' has one label alone, \['red thing'\]"):
        Trainer(replace(CONFIG, without=("blue thing", "green thing")), data, tmp_path)


def test_what_stays_as_it_is_keeps_its_statistics(data: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"batch_norm": "trained", "steps": 2, "warmup": 0}
    for name, still, changed in (
        ("frozen", {"frozen": ("decoder",)}, "encoder."),
        ("rate", {"backbone_lr": 0.0}, "decoder."),
    ):
        run = Trainer(replace(CONFIG, **changes, **still), data, tmp_path / name)
        before = {key: value.clone() for key, value in run.net.state_dict().items()}
        run.run()
        different = {key for key, value in run.net.state_dict().items() if not torch.equal(value, before[key])}
        assert different and all(key.startswith(changed) for key in different)
        assert any(key.endswith("running_mean") for key in different)


def test_pictures_are_kept_in_memory_while_there_is_room(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, original = [], common.read_image

    def count(path: Path, *, upright: bool) -> NDArray[np.uint8]:
        read.append(path)
        return original(path, upright=upright)

    monkeypatch.setattr(common, "read_image", count)
    monkeypatch.setattr(layers, "KEPT_IN_MEMORY", 2 * 72 * 96 * 4)
    dataset = blocks(data)
    for _ in range(2):
        for index in range(6):
            dataset.sample(index)
    assert len(read) == 6 + 4


def test_missing_and_broken_files_are_named(data: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        blocks(data, images="nowhere")
    (data / "masks" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.png is missing"):
        blocks(data)
    (data / "masks" / "3.png").write_bytes(b"no picture")
    dataset = blocks(data)
    with pytest.raises(ValueError, match=r"masks.3\.png is not an 8-bit"):
        dataset.sample(3)
    (data / "images" / "2.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"images.2\.png cannot be read: the file is empty"):
        dataset.sample(2)
    cv2.imwrite(str(data / "masks" / "1.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match="they must be equal"):
        dataset.sample(1)


def trained_phrases(config: TrainConfig) -> set[str]:
    """Returns all words of a run: those in its data sets and those of the file of words."""
    phrases = {phrase for more in config.words.values() for phrase in more}
    phrases |= {*config.classifier.values(), *config.second_classifier.values()}
    for source in config.sources.values():
        for layer in source.data.get("layers", []):
            for given in layer["labels"].values():
                phrases |= {given} if isinstance(given, str) else set(given)
    return phrases


RUNS = sorted(p for p in (CONFIGS / "train").glob("*.yaml") if not p.name.startswith("words"))


def test_words_kept_for_measuring_are_not_trained_on() -> None:
    """These words measure how well other words work. They would show nothing if the model had been trained on them."""
    kept = ["heavens", "edifice", "post", "street", "pavement", "greenery"]
    kept += ["road sign", "railing", "motorcar", "human", "cyclist"]
    for path in RUNS:
        for phrase in trained_phrases(read_config(path)):
            found = re.search(rf"\b({'|'.join(kept)})s?\b", phrase)
            assert found is None, f"{path}: {phrase!r}"


def test_words_that_the_default_model_was_not_trained_on() -> None:
    """The other words of voc_animals.yaml, and words of the same kind, are no part of any phrase of lseg_mini."""
    kept = ["aeroplane", "velocipede", "feathered animal", "rowboat", "glass vial", "motorbus", "motorcar", "pussycat"]
    kept += ["seating for one", "bovine", "dinner table", "mutt", "steed", "equine", "motor bike", "human", "pot plant"]
    kept += ["woolly farm animal", "settee", "railway engine", "telly", "icebox", "cellphone", "lavatory"]
    kept += ["tenement", "stanchion", "arterial route", "flagstone", "palisade", "saloon car", "bystander"]
    phrases = trained_phrases(read_config(CONFIGS / "train" / "lseg_mini.yaml"))
    assert len(phrases) > 2000
    for phrase in phrases:
        found = re.search(rf"\b({'|'.join(kept)})(s|es)?\b", phrase, re.IGNORECASE)
        assert found is None, repr(phrase)
