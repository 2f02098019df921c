"""The command line and the home folder: ~ in every path, and no home folder at all."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lseg_ros.data.catalogue import open_dataset
from lseg_ros.data.config_file import ConfigError
from lseg_ros.training.config_reader import read_config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a photo and labels. The current folder is another one."""
    folder, here = tmp_path / "home", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(here)
    assert cv2.imwrite(str(folder / "p.png"), np.full((48, 64, 3), 90, np.uint8))
    (folder / "labels.yaml").write_text("labels: [sky, tree]\n")
    return folder


def test_the_home_folder_in_every_path(lseg: Any, tiny: Path, home: Path) -> None:
    (home / "tiny.safetensors").write_bytes(tiny.read_bytes())
    arguments = ["~/p.png", "--output=~/out/o.png", "--label-file=~/labels.yaml", "--model=~/tiny.safetensors"]
    done = lseg("segment", *arguments)
    assert (done.status, done.err) == (0, "")
    assert (home / "out" / "o.png").is_file()
    assert not list(Path().iterdir())  # above all, no folder called ~


def test_the_home_folder_in_configurations(home: Path, tmp_path: Path) -> None:
    data = home / "mine"
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True)
        assert cv2.imwrite(str(data / folder / "0.png"), np.zeros((4, 6), np.uint8))
    (data / "labels.txt").write_text("sky\ntree\n")
    assert len(open_dataset({"dataset": "folder", "root": "~/mine"}, tmp_path, "here")) == 1
    layers = {"images": "~/mine/images", "layers": [{"masks": "~/mine/masks", "labels": {0: "sky", 1: "tree"}}]}
    assert len(open_dataset(layers, tmp_path, "here")) == 1

    (home / "base.yaml").write_text(
        "{variant: lseg_mini, licence: x, seed: 1, batch: 2, crop: 64, steps: 5, lr: 1, backbone_lr: 1,"
        " sources: {a: {dataset: folder}}, words: ~/words.yaml}"
    )
    (home / "words.yaml").write_text("sky: [sky, heaven]")
    (tmp_path / "run.yaml").write_text("base: ~/base.yaml")
    assert read_config(tmp_path / "run.yaml").words == {"sky": ["sky", "heaven"]}


@pytest.mark.usefixtures("homeless")
def test_no_home_folder(
    lseg: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = lseg("models")
    assert done.status == 0
    assert "missing: $LSEG_WEIGHTS/lseg_vit_l16.safetensors (there is no home folder; set LSEG_WEIGHTS)" in done.out
    monkeypatch.setenv("LSEG_WEIGHTS", str(tmp_path))
    assert f"missing: {tmp_path}/lseg_vit_l16.safetensors" in lseg("models").out

    with pytest.raises(SystemExit):
        lseg("segment", "p.png", "--labels", "sky", "--output=~/o.png")
    assert "~/o.png is in the home folder, and this process has none; set HOME" in capsys.readouterr().err
    assert lseg("segment", "~/p.png", "--labels", "sky", "-o", "o.png", "--model", tiny).err.startswith(
        "lseg: ~/p.png is in the home folder, and this process has none"
    )
    with pytest.raises(ConfigError, match="here: ~/mine is in the home folder"):
        open_dataset({"dataset": "folder", "root": "~/mine"}, tmp_path, "here")
