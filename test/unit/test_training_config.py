"""What a training configuration may contain."""

from pathlib import Path

import pytest
import yaml

from lseg_ros.data.config_file import ConfigError
from lseg_ros.model.variants import DeepLab, variant_named
from lseg_ros.training.config import Run, TrainConfig
from lseg_ros.training.config_reader import _with_base, read_config

ROOT = Path(__file__).parents[2]
RUNS = sorted(p for p in (ROOT / "config" / "train").glob("*.yaml") if not p.name.startswith("words"))
PLAIN = {
    "variant": "lseg_mini",
    "licence": "CC0-1.0",
    "seed": 1,
    "steps": 10,
    "batch": 2,
    "crop": 64,
    "lr": 0.1,
    "backbone_lr": 0,
    "sources": {"one": {"dataset": "folder"}},
}


def read(folder: Path, **changes: object) -> TrainConfig:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(PLAIN | changes))
    return read_config(path)


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_shipped_configurations_can_be_read(path: Path) -> None:
    config = read_config(path)
    for source in config.sources.values():
        for layer in source.data.get("layers", []):
            for label in layer["labels"].values():
                assert label in config.words, "each label has its own entry in words.yaml"
    assert set(config.second_classifier.values()) <= set(config.words)
    decoder = variant_named(config.variant).decoder
    count = decoder.second_classes if isinstance(decoder, DeepLab) and config.second_init else 0
    assert len(config.second_classifier) == count


def test_of_several_files_of_words_the_later_one_holds(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("{sky: [sky, air], tree: [tree]}")
    (tmp_path / "more.yaml").write_text("{sky: [sky, clouds]}")
    assert read(tmp_path, words="all.yaml").words == {"sky": ["sky", "air"], "tree": ["tree"]}
    assert read(tmp_path, words=["all.yaml", "more.yaml"]).words == {"sky": ["sky", "clouds"], "tree": ["tree"]}
    with pytest.raises(ConfigError, match="'words' is \\[\\], and should be a file, or a list of files"):
        read(tmp_path, words=[])


def test_a_run_may_begin_with_another(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(PLAIN | {"seed": 7}))
    name, first = read(tmp_path, init=["lseg_mini", "first.yaml"]).init
    assert name == "lseg_mini" and isinstance(first, Run) and (first.name, first.config.seed) == ("first", 7)
    assert read(tmp_path, init="lseg_mini").init == ("lseg_mini",)
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(PLAIN | {"init": "run.yaml"}))
    with pytest.raises(ConfigError, match=r"run\.yaml begins with its own weights: 'init' of .*first\.yaml leads back"):
        read(tmp_path, init="first.yaml")
    with pytest.raises(ConfigError, match=r"there is no configuration at .*none\.yaml; check the path"):
        read(tmp_path, init="none.yaml")


def test_the_example_can_be_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    (tmp_path / "mine.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert read_config(tmp_path / "mine.yaml").sources["mine"].data == {"dataset": "folder", "root": "my_images"}


def test_a_base_gives_what_a_configuration_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "seed: 1\nlr: 2\nsources: {x: {images: x, weight: 1}, y: {images: y}}\nbase: b.yaml"
    )
    (tmp_path / "b.yaml").write_text("seed: 3\ncrop: 32")
    (tmp_path / "c.yaml").write_text("base: a.yaml\nlr: 5\nsources: {x: {weight: 2}, y: null}")
    assert _with_base(tmp_path / "c.yaml") == {
        "seed": 1,
        "crop": 32,
        "lr": 5,
        "sources": {"x": {"images": "x", "weight": 2}},
    }
    (tmp_path / "b.yaml").write_text("base: c.yaml")
    with pytest.raises(ConfigError, match="its own base"):
        read_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("steps: 3\n", "missing 'variant', missing 'licence', missing 'seed'"),
        ("[1, 2]", "no mapping"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_config(tmp_path / "a.yaml")


def test_entries_at_their_limits(tmp_path: Path) -> None:
    config = read(tmp_path, seed=0, color=0, negatives=0, ema=0, clip=0, scale=[1, 1], init=None)
    assert (config.scale, config.rates, config.init) == ((1, 1), (0, 0.1), ())
    assert read(tmp_path, variant="lseg_vit_l16+bottleneck2").variant == "lseg_vit_l16+bottleneck2"
    epochs = read(tmp_path, steps=None, epochs=3, schedule="poly", lr=None, backbone_lr=None, base_lr=0.004, batch=4)
    assert epochs.rates == (0.001, 0.01)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stpes": 3}, r"unknown 'stpes' \(did you mean 'steps'\?\)"),
        ({"colour": 0.5}, r"unknown 'colour' \(did you mean 'color'\?\)"),
        ({"zzz": 3}, "unknown 'zzz'$"),
        ({"variant": "lseg_huge"}, "there is no variant 'lseg_huge'; known: lseg_mini"),
        ({"steps": -1}, "'steps' is -1, and should be a whole number, 1 or more"),
        ({"steps": 2.5}, "'steps' is 2.5"),
        ({"batch": True}, "'batch' is True"),
        ({"seed": "one"}, "'seed' is 'one'"),
        ({"crop": 100}, "'crop' is 100, and should be a multiple of 32 pixels"),
        ({"lr": "1e-3"}, "'lr' is '1e-3', and should be a number above 0; YAML takes 1e-3 for text"),
        ({"lr": 0}, "'lr' is 0"),
        ({"weight_decay": -0.1}, "'weight_decay' is -0.1, and should be a number, 0 or more"),
        ({"ema": 1.0}, "'ema' is 1.0"),
        ({"init": []}, r"'init' is \[\], and should be a text, or a list of texts"),
        ({"init": 5}, "'init' is 5"),
        ({"paste": 1.5}, "'paste' is 1.5, and should be a number from 0 to 1"),
        ({"balance": float("nan")}, "'balance' is nan"),
        ({"scale": [1.6, 0.5]}, r"'scale' is \[1.6, 0.5\], and should be two factors above 0, the smaller first"),
        ({"scale": [0, 1]}, "'scale' is"),
        ({"scale": 1.5}, "'scale' is 1.5"),
        ({"long_side": [260.5, 300]}, "'long_side' is"),
        ({"optimizer": "lion"}, "'optimizer' is 'lion', and should be one of adamw, adam, sgd"),
        ({"schedule": "linear"}, "'schedule' is 'linear', and should be one of cosine, poly"),
        ({"precision": "half"}, "'precision' is 'half', and should be one of float32, bfloat16, float16"),
        ({"batch_norm": ["x"]}, "'batch_norm' is"),
        ({"negatives": "some"}, "'negatives' is 'some', and should be a whole number, 0 or more, or all"),
        ({"frozen": "encoder"}, "'frozen' is 'encoder', and should be a list of texts"),
        ({"broken_files": "ignore"}, "should be one of stop, skip"),
        ({"classifier": {"one": "wall"}}, "'classifier' is .*, and should be a mapping from numbers of outputs"),
        ({"classifier": {1: "wall"}, "init": ["a.pt", "b.pt"]}, "'classifier' goes with one file in 'init'"),
        ({"second_classifier": {1: "cat"}}, "'second_classifier' goes with 'second_init', which holds that classifier"),
        ({"sources": {}}, "'sources' is {}"),
        ({"sources": {"one": 5}}, "one: a data set is a mapping of entries, and here is 5"),
        ({"sources": {"one": {"weight": -1}}}, "one: the weight is -1"),
        ({"sources": {"one": {"weight": 0}}}, "all sources have the weight 0"),
        ({"epochs": 3}, "give either 'steps' or 'epochs'"),
        ({"steps": None}, "give either 'steps' or 'epochs'"),
        ({"base_lr": 0.004}, "give either 'base_lr' or both 'lr' and 'backbone_lr'"),
        ({"backbone_lr": None}, "give either 'base_lr' or both"),
        ({"schedule": "poly"}, "'schedule' poly goes by 'epochs'"),
        ({"stop_after": 2}, "'stop_after' is 2"),
        ({"warmup": 10}, "'warmup' is 10, and should be less than the 'steps', 10"),
        ({"restarts": [4], "warmup": 4}, "'warmup' is 4, and should be less than the 'steps', 4"),
        ({"restarts": [5, 3]}, r"'restarts' is \[5, 3\], and should be a list of steps, each 1 or more, ascending"),
        ({"restarts": 5}, "'restarts' is 5, and should be a list of steps"),
        ({"restarts": [10]}, r"'restarts' is \[10\]; it goes with 'schedule' cosine and lies below 'steps'"),
        ({"restarts": [2], "steps": None, "epochs": 3}, r"'restarts' is \[2\]; it goes with 'schedule' cosine and "),
        ({"steps": None, "epochs": 3, "sources": {"one": {"weight": 2}}}, "a source takes no 'weight'"),
        ({"validation": {"every": 3}}, "validation: it has the entries data and every"),
        ({"validation": {"data": {}, "every": 0}}, "validation: 'every' is 0"),
        ({"validation": {"data": [], "every": 1}}, "validation: a data set is a mapping"),
    ],
)
def test_bad_entries(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=f"run.yaml.*{reason}"):
        read(tmp_path, **changes)
