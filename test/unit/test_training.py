"""The trainer on a tiny set made here."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import TINY, HashText, tiny_net

from lseg_ros import Segmenter, load_model
from lseg_ros.model import weights
from lseg_ros.model.variants import VARIANTS
from lseg_ros.training import trainer
from lseg_ros.training.config import ConfigError, Layer, SourceConfig, TrainConfig, read_config
from lseg_ros.training.data import IGNORE, Source, augment
from lseg_ros.training.evaluate import evaluate
from lseg_ros.training.trainer import Trainer

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]  # RGB
LABELS = {0: ["red thing"], 1: ["green thing", "lawn"], 2: ["blue thing"]}
CONFIGS = Path(__file__).parents[2] / "config"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """So small a network only waits for further threads, and much longer where others use the cores too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "tiny", TINY)
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())
    monkeypatch.setattr(trainer, "build_text_encoder", lambda variant: HashText())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six pictures of coloured blocks with masks, an ignored corner, and an initial backbone."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(6):
        mask = rng.integers(0, 3, (3, 4)).astype(np.uint8).repeat(24, 0).repeat(24, 1)
        image = np.array(COLORS, np.uint8)[mask]
        mask[:8, :8] = 11
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), image[..., ::-1])
        cv2.imwrite(str(tmp_path / "masks" / f"{i}.png"), mask)
    state = tiny_net().encoder.state_dict()
    save_file({k.removeprefix("cnn."): v for k, v in state.items()}, tmp_path / "init.safetensors")
    return tmp_path


CONFIG = TrainConfig(
    variant="tiny",
    init="init.safetensors",
    licence="CC0-1.0",
    seed=3,
    steps=60,
    batch=4,
    crop=32,
    scale=(0.8, 1.2),
    lr=0.02,
    backbone_lr=0.002,
    warmup=2,
    weight_decay=0.0,
    ema=0.5,
    negatives=2,
    templates=["{}"],
    sources={"blocks": SourceConfig("images", [Layer("masks", LABELS)])},
)


def test_it_learns_and_the_weights_say_what_they_are(data: Path, tmp_path: Path) -> None:
    source = Source(CONFIG.sources["blocks"], data)
    path = Trainer(CONFIG, data, tmp_path / "out").run()
    net = load_model(path)
    assert net.licence == "CC0-1.0"
    names, metrics = evaluate(Segmenter(net, "cpu"), source)
    assert names == ["red thing", "green thing", "blue thing"]
    _, before = evaluate(Segmenter(tiny_net(), "cpu"), source)
    assert metrics.mean_iou > before.mean_iou + 0.3
    losses = [json.loads(line)["loss"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 1 and losses[0] < 1.0


def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, steps=6)
    whole = Trainer(config, data, tmp_path / "whole").run()
    monkeypatch.setattr(trainer, "SAVE_EVERY", 3)
    first = Trainer(config, data, tmp_path / "parts")
    saves = []

    def save_and_stop() -> None:
        Trainer.save(first)
        saves.append(first.step)
        raise KeyboardInterrupt

    monkeypatch.setattr(first, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert saves == [3]
    second = Trainer(config, data, tmp_path / "parts")
    second.resume()
    assert second.step == 3
    parts = second.run()
    one, other = load_model(whole).state_dict(), load_model(parts).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_batches_depend_on_seed_and_step_alone(data: Path, tmp_path: Path) -> None:
    one, other = (Trainer(CONFIG, data, tmp_path / name) for name in ("a", "b"))
    assert torch.equal(one.batch(7).images, other.batch(7).images) and one.batch(7).phrases == other.batch(7).phrases
    assert not torch.equal(one.batch(7).images, one.batch(8).images)
    batch = one.batch(1)
    assert batch.images.shape == (4, 3, 32, 32) and batch.target.shape == (4, 32, 32)
    assert set(batch.target.unique().tolist()) <= {*range(len(batch.phrases)), IGNORE}


def test_layers_fill_what_the_first_leaves_open(data: Path) -> None:
    (data / "second").mkdir()
    for i in range(6):
        cv2.imwrite(str(data / "second" / f"{i}.png"), np.full((72, 96), 5, np.uint8))
    config = SourceConfig(
        "images", [Layer("masks", {0: ["red thing"]}), Layer("second", {5: ["rest"], 6: ["red thing"]})]
    )
    source = Source(config, data)
    assert [p[0] for p in source.phrases] == ["red thing", "rest"]
    _, merged = source.sample(0)
    original = cv2.imread(str(data / "masks" / "0.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(merged, np.where(original == 0, 0, 1))


def test_augmented_crops_stay_together() -> None:
    image = np.zeros((50, 70, 3), np.uint8)
    image[:, 35:] = 255
    mask = (image[..., 0] > 0).astype(np.uint8)
    for seed in range(20):
        crop, target = augment((image, mask), np.random.default_rng(seed), 64, (0.5, 1.5))
        assert crop.shape == (64, 64, 3) and target.shape == (64, 64)
        bright = crop.astype(int).mean(-1) > 110
        known = target != IGNORE
        assert (bright[known] == (target[known] == 1)).mean() > 0.95


def test_missing_and_broken_files_are_named(data: Path) -> None:
    config = CONFIG.sources["blocks"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Source(replace(config, images="nowhere"), data)
    (data / "masks" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.png is missing"):
        Source(config, data)
    (data / "masks" / "3.png").write_bytes(b"no picture")
    source = Source(config, data)
    with pytest.raises(ValueError, match=r"masks.3\.png is not an 8-bit"):
        source.sample(3)
    (data / "images" / "2.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"images.2\.png cannot be decoded"):
        source.sample(2)
    cv2.imwrite(str(data / "masks" / "1.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match="they must be equal"):
        source.sample(1)


def test_an_initial_backbone_that_does_not_fit(data: Path, tmp_path: Path) -> None:
    save_file({"head.weight": torch.zeros(1)}, data / "init.safetensors")
    with pytest.raises(ValueError, match=r"init\.safetensors lacks encoder\.cnn\.conv_stem\.weight and"):
        Trainer(CONFIG, data, tmp_path / "out")


@pytest.mark.parametrize("path", sorted((CONFIGS / "train").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configurations_can_be_read(path: Path) -> None:
    config = read_config(path)
    assert config.steps > 0 and all(source.layers for source in config.sources.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("steps: 3\n", "missing 'backbone_lr'"),
        ("[1, 2]", "no mapping"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_bad_configurations(tmp_path: Path, change: str, reason: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(change)
    with pytest.raises(ConfigError, match=reason):
        read_config(path)


def test_words_kept_for_measuring_are_not_trained_on() -> None:
    """How well other words work is measured with these; they would say nothing had they been training text."""
    kept = {"heavens", "edifice", "post", "street", "pavement", "greenery"}
    kept |= {"road sign", "railing", "motorcar", "human", "cyclist"}
    for path in (CONFIGS / "train").glob("*.yaml"):
        config = read_config(path)
        trained = {p for s in config.sources.values() for layer in s.layers for ps in layer.labels.values() for p in ps}
        assert not kept & trained
