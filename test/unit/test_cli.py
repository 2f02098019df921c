"""The command line: what each command writes and prints, and its errors."""

import errno
import importlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from original import original_shapes, original_state
from rounding import assert_same_mask
from safetensors import safe_open
from tiny import tiny_net

import lseg_ros
from lseg_ros import Segmenter, load_model
from lseg_ros.cli.describe import megabytes
from lseg_ros.cli.main import main
from lseg_ros.cli.models import NUMBERS
from lseg_ros.inference.label_file import label_file_text
from lseg_ros.inference.lessons import Marks
from lseg_ros.inference.render import overlay
from lseg_ros.model import variants, weights
from lseg_ros.model.variants import HUB_VARIANTS, VARIANTS, ClipText, Decoder, Variant, VitBackbone, to_json
from lseg_ros.model.writer import write_safetensors

ROOT = Path(lseg_ros.__file__).parent.parent
RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
VIT = Variant(
    "tiny_vit",
    VitBackbone(32, 4, 4, 32, 4, taps=(0, 1, 2, 3), channels=(8, 8, 16, 32), scale=(8, 4, 2, 1)),
    Decoder(16, upsample=(2, 2, 2, 2)),
    ClipText(16, 2, 2),
    64,
)


def save(path: Path, rgb: NDArray[np.uint8] = RGB) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def load(path: Path) -> NDArray[Any]:
    """Reads a PNG as it is stored, with colors as RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image[..., ::-1] if image.ndim == 3 else image


def video(path: Path, frames: int = 4) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 8, (64, 48))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(np.ascontiguousarray(RGB[:48, 8 * i : 8 * i + 64]))
    writer.release()
    return path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def segmenter(**options: Any) -> Segmenter:
    return Segmenter(tiny_net(), "cpu", **options)


def test_help_and_models_load_no_library(tmp_path: Path) -> None:
    blocked = ["torch", "timm", "open_clip", "cv2", "numpy", "PIL", "yaml", "tqdm", "safetensors"]
    code = f"""
import sys
for name in {blocked}: sys.modules[name] = None
from lseg_ros.cli.main import main
for command in ([], ["segment"], ["convert"], ["models"], ["info"], ["train"], ["eval"], ["bag"]):
    try:
        main([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0
sys.exit(main(["models"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert "lseg_vit_l16_rn50x16" in done.stdout


def test_the_installed_command_exists() -> None:
    target = re.search(r'^lseg = "([\w.]+):(\w+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert target is not None
    assert getattr(importlib.import_module(target[1]), target[2]) is main


def test_a_photo(lseg: Any, tiny: Path, tmp_path: Path) -> None:
    photo, out = save(tmp_path / "a.png"), tmp_path / "new" / "out.png"
    labels = ["road", "file", "sky/blue"]  # names that numpy.savez and paths would stumble over
    done = lseg(
        *("segment", photo, "--model", tiny, "--labels", " road,file , sky/blue", "-o", out, "--scores"),
        *("--device", "cpu", "--input-size", 64, "--precision", "float32"),
    )
    assert (done.status, done.err) == (0, "")
    assert files(out.parent) == {"out.png", "out_mask.png", "out_scores.npz"}
    expected = segmenter(input_size=64)
    expected.set_labels(labels)
    result = expected.segment(RGB)
    assert len(np.unique(result.mask)) > 1
    mask = load(tmp_path / "new" / "out_mask.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, result.mask)
    np.testing.assert_array_equal(load(out), overlay(RGB, result.mask, result.labels))
    with np.load(tmp_path / "new" / "out_scores.npz") as scores:
        assert scores.files == labels
        for name in labels:
            assert scores[name].dtype == np.float16
            np.testing.assert_allclose(scores[name], result.scores(name), atol=1e-3)
    rows = [line.split() for line in done.out.splitlines()[1:]]
    assert rows == [[name, str(i), f"{(mask == i).mean():.1%}"] for i, name in enumerate(labels, 1)]


def test_folders_videos_and_what_cannot_be_read(lseg: Any, tiny: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / "a.png")
    save(folder / "a.bmp", RGB[:40])  # of the same name but for the suffix
    save(folder / "b.png")
    film = video(tmp_path / "film.mp4")
    broken = [folder / "bad.jpg", tmp_path / "bad.mp4"]
    for path in broken:
        path.write_bytes(b"nothing of the kind")
    inputs = [folder, film, broken[1]]
    done = lseg("segment", *inputs, "--model", tiny, "--labels", "road, sky", "-o", out, "--masks", "--device", "cpu")
    assert done.status == 1
    assert [str(path) for path in broken] == re.findall(r"^lseg: (?:photo|video) (\S+) cannot", done.err, re.MULTILINE)
    photos = {f"{name}_{kind}.png" for name in ("a.png", "a.bmp", "b") for kind in ("overlay", "mask")}
    expected = ["times.csv", *(f"00000{i}.png" for i in range(4))]
    assert files(out) == photos | {"film_overlay.mp4", *(f"film_masks/{i}" for i in expected)}
    assert load(out / "a.bmp_mask.png").shape == (40, 100)
    assert load(out / "film_masks" / "000003.png").shape == (48, 64)
    shown = cv2.VideoCapture(str(out / "film_overlay.mp4"))
    assert [shown.get(p) for p in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT)] == [8, 4]
    assert done.out.startswith("label")


def test_a_video_into_a_file_and_nothing_to_read(lseg: Any, tiny: Path, tmp_path: Path) -> None:
    film, out = video(tmp_path / "film.mp4"), tmp_path / "out.mp4"
    arguments = ("--model", tiny, "--labels", "road, sky", "-o", out, "--device", "cpu")
    assert lseg("segment", film, *arguments).status == 0
    assert files(tmp_path) == {"film.mp4", "out.mp4"}
    whole = out.read_bytes()
    film.write_bytes(b"nothing of the kind")
    done = lseg("segment", film, *arguments)
    assert (done.status, done.out) == (1, "")
    assert out.read_bytes() == whole


def test_a_damaged_video_and_one_of_an_odd_rate(lseg: Any, tiny: Path, tmp_path: Path) -> None:
    film, out = tmp_path / "film.avi", tmp_path / "out.mp4"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 100.1234, (64, 48))
    for i in range(12):
        writer.write(np.ascontiguousarray(RGB[:48, 2 * i : 2 * i + 64]))
    writer.release()
    arguments = ("--model", tiny, "--labels", "road, sky", "-o", out, "--device", "cpu")
    assert lseg("segment", film, *arguments).status == 0
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 12
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    done = lseg("segment", film, *arguments)
    assert re.search(rf"^lseg: {film} ends after 0\.0\d+ of 0\.\d+ s; is it damaged\?$", done.err, re.MULTILINE)
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) < 12


def test_labels_from_a_file_and_a_threshold(lseg: Any, tiny: Path, tmp_path: Path) -> None:
    listed = tmp_path / "labels.yaml"
    listed.write_text("labels: ['road, paved', {name: sky, class_id: 300}, {name: other, background: true}]")
    done = lseg(
        *("segment", save(tmp_path / "a.png"), "--model", tiny, "--label-file", listed, "-o", tmp_path / "o.png"),
        *("--threshold", 0.6, "--device", "cpu"),
    )
    mask = load(tmp_path / "o_mask.png")
    assert mask.dtype == np.uint16
    assert set(np.unique(mask)) == {1, 300, 65535}  # an id that 8 bits do not hold
    for line, class_id in (("road, paved", 1), ("sky", 300), ("(unknown)", 65535)):
        assert re.search(rf"^{re.escape(line)} +{class_id} +{(mask == class_id).mean():.1%}$", done.out, re.MULTILINE)


def test_a_label_file_of_taught_labels(lseg: Any, tiny: Path, tmp_path: Path) -> None:
    segmenter = Segmenter(load_model(tiny), "cpu")
    segmenter.set_labels(["road", "sky"])
    plain = segmenter.segment(RGB).mask
    labels = segmenter.teach(segmenter.embed(RGB), "gravel", Marks(boxes=[(40, 20, 20, 20)]))
    listed = tmp_path / "labels.yaml"
    listed.write_text(label_file_text([label.spec() for label in labels.labels]))
    photo, out = save(tmp_path / "a.png"), tmp_path / "o.png"
    assert lseg("segment", photo, "--model", tiny, "--label-file", listed, "-o", out, "--device", "cpu").status == 0
    mask = load(tmp_path / "o_mask.png")
    assert_same_mask(mask, segmenter.segment(RGB).mask, np.zeros(mask.shape, bool))
    assert (mask == 3).any() and (mask != plain).any()

    other = tmp_path / "other.safetensors"
    weights.save_model(tiny_net(seed=1), other, "none")
    done = lseg("segment", photo, "--model", other, "--label-file", listed, "-o", out, "--device", "cpu")
    assert done.status == 1 and "the label 'gravel' was taught with other weights than those in use" in done.err


@pytest.mark.parametrize(("count", "bits"), [(254, np.uint8), (255, np.uint16)])
def test_many_labels_take_16_bits(lseg: Any, tiny: Path, tmp_path: Path, count: int, bits: type) -> None:
    labels = ",".join(f"label {i}" for i in range(count))
    photo = save(tmp_path / "a.png")
    assert lseg("segment", photo, "--model", tiny, "--labels", labels, "-o", tmp_path / "o.png").status == 0
    assert load(tmp_path / "o_mask.png").dtype == bits


def test_multiscale(lseg: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segmenter, "segment_multiscale", lambda self, rgb: self.segment(rgb[:, ::-1].copy()))
    photo = save(tmp_path / "a.png")
    arguments = ("--model", tiny, "--labels", "road, sky", "--device", "cpu", "--multiscale", "-o", tmp_path / "o.png")
    assert lseg("segment", photo, *arguments).status == 0
    expected = segmenter()
    expected.set_labels(["road", "sky"])
    np.testing.assert_array_equal(load(tmp_path / "o_mask.png"), expected.segment(RGB[:, ::-1].copy()).mask)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["missing.jpg", "-o", "o.png"], "missing.jpg does not exist"),
        (["a.png", "-o", "o.jpg"], "o.jpg must end in .png"),
        (["film.mp4", "-o", "o.png"], "o.png must end in .mp4"),
        (["a.png", "b.png", "-o", "o.png"], "o.png is one file and there are 2 inputs"),
        (["a.png", "-o", "a.png"], "a.png is an input and would be overwritten"),
        (["a.png", "deep/a.png", "-o", "out"], "a.png and deep/a.png would be written to the same files"),
        (["a.png", "-o", "o.png", "--threshold", "2"], "the threshold is 2; it must be between 0 and 1"),
        (["film.mp4", "-o", "out", "--scores"], "--scores is for photos, and film.mp4 is a video"),
        (["film.mp4", "-o", "old", "--masks"], "old/film_masks is there already"),
        (["a.png", "-o", "o.png", "--labels", "road,,sky"], "label 2 of 3 is empty or blank"),
        (["a.png", "-o", "o.png", "--input-size", "0"], "input_size is 0; it must be at least 1 pixel"),
        (["a.png", "-o", "o.png", "--model", "lseg_maxi"], "there is no variant 'lseg_maxi'"),
        (["a.png", "-o", "o.png", "--model", "no.ckpt"], "there is no weights file at no.ckpt"),
        (["a.png", "-o", "a.png/out"], "a.png/out: Not a directory"),
    ],
)
def test_errors_of_segment(
    lseg: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "deep/a.png"):
        save(Path(name))
    video(Path("film.mp4"))
    Path("old/film_masks").mkdir(parents=True)
    before = files(tmp_path)
    done = lseg("segment", "--model", tiny, "--labels", "road, sky", *arguments)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"lseg: {reason}")
    assert done.err.count("\n") == 1
    assert files(tmp_path) == before


def test_what_fails_half_way_leaves_nothing(
    lseg: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = tmp_path / "out", []
    out.mkdir()
    (out / "film_overlay.mp4").write_bytes(b"of before")

    def segment(self: Segmenter, rgb: NDArray[np.uint8]) -> Any:
        seen.append(rgb)
        if len(seen) == 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.score(self.embed(rgb))

    monkeypatch.setattr(Segmenter, "segment", segment)
    film = video(tmp_path / "film.mp4")
    done = lseg("segment", film, "--model", tiny, "--labels", "road, sky", "-o", out, "--masks", "--device", "cpu")
    assert (done.status, done.out) == (1, "")
    assert done.err == "lseg: the GPU has too little memory; try a smaller --input-size, or --device cpu\n"
    assert files(out) == {"film_overlay.mp4"}
    assert (out / "film_overlay.mp4").read_bytes() == b"of before"
    assert list(out.iterdir()) == [out / "film_overlay.mp4"]


@pytest.mark.slow
def test_the_real_thing(tmp_path: Path) -> None:
    try:
        from skimage import data

        rgb = np.asarray(data.chelsea(), np.uint8)
    except ImportError:
        rgb = np.kron(RGB, np.ones((4, 4, 1), np.uint8))
    photo = save(tmp_path / "a.png", rgb)
    code = "import sys; from lseg_ros.cli.main import main; sys.exit(main())"
    arguments = ["segment", photo.name, "--labels", "cat, sky, other", "-o", "out.png", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    mask = load(tmp_path / "out_mask.png")
    assert mask.shape == load(tmp_path / "out.png").shape[:2] == rgb.shape[:2]
    assert set(np.unique(mask)) <= {1, 2, 3}
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [["cat", "1"], ["sky", "2"], ["other", "3"]]


@pytest.fixture
def original(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkpoint of a small network in the original's layout, with what training leaves in it."""
    monkeypatch.setitem(variants.VARIANTS, VIT.name, VIT)
    state = original_state(original_shapes(VIT, visual=(32, 2)))
    checkpoint = {
        "epoch": 3,
        "state_dict": {f"net.{key}": tensor for key, tensor in state.items()},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.zeros(1_000_000)}}}],
        "lr_schedulers": [],
    }
    torch.save(checkpoint, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def logits(path: Path) -> torch.Tensor:
    net = load_model(path)
    images = torch.from_numpy(RGB[:32, :96]).permute(2, 0, 1)[None].float() / 128 - 1
    with torch.no_grad():
        return net(images, net.encode_text(["road", "sky"]))


def test_convert_keeps_the_numbers_and_says_what_it_drops(lseg: Any, original: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "b.safetensors"
    done = lseg("convert", original, out, "--licence", "MIT")
    assert (done.status, done.err) == (0, "")
    expected = logits(original)
    assert torch.equal(logits(out), expected)
    assert load_model(out).licence == "MIT"
    sizes = dict(re.findall(r"^dropped: (.+), ([\d.]+ (?:MB|kB|bytes))$", done.out, re.MULTILINE))
    assert sizes.keys() == {
        "optimizer_states",
        "CLIP's image tower",
        "classification head of the image encoder",
        "decoder unit that gets no input",
    } | {"CLIP's own logit scale"}
    assert sizes["optimizer_states"] == "4.0 MB"
    assert "dropped: epoch, lr_schedulers, no tensors\n" in done.out
    assert files(out.parent) == {"b.safetensors"}

    size = f"({megabytes(out.stat().st_size)}) ->"
    again = lseg("convert", out, out, "--force", "--half")  # onto itself
    assert again.status == 0
    assert size in again.out
    assert "dropped" not in again.out
    assert out.stat().st_size < 0.6 * original.stat().st_size
    torch.testing.assert_close(logits(out), expected, rtol=0, atol=0.1)
    assert load_model(out).licence == "MIT"


def test_errors_of_convert(lseg: Any, original: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"of somebody")
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(original.read_bytes()[:-1000])
    for arguments, reason in (
        ((original, there), f"{there} is there already; choose another name, or give --force"),
        ((original, tmp_path / "b.ckpt"), f"{tmp_path / 'b.ckpt'} must end in .safetensors"),
        ((broken, tmp_path / "b.safetensors"), f"{broken} cannot be used: it is damaged, or cut short at"),
        ((broken, there, "--force"), f"{broken} cannot be used: it is damaged, or cut short at"),
        ((original, tmp_path / "b.safetensors", "--variant", "lseg_rn101"), f"{original} does not fit the network"),
    ):
        done = lseg("convert", *arguments)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(f"lseg: {reason}")
    assert there.read_bytes() == b"of somebody"
    assert files(tmp_path) == {"a.ckpt", "broken.ckpt", "there.safetensors"}


def test_the_writer_against_the_library_that_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    told: list[int] = []
    state = {
        "odd": torch.arange(3.0).half(),
        "turned": torch.arange(6.0).reshape(2, 3).t(),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 4),
    }
    write_safetensors(path, state, {"a": "\u00e9"}, torch.bfloat16, told.append)
    with safe_open(path, framework="pt") as file:
        assert file.metadata().items() >= {"a": "\u00e9"}.items()
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no iterator)
    assert found.keys() == state.keys()
    for key, value in state.items():
        expected = value if key == "count" else value.bfloat16()
        assert found[key].dtype == expected.dtype
        assert torch.equal(found[key], expected)
    assert sum(told) == 3 * 2 + 6 * 2 + 8

    before = path.read_bytes()

    def stop(written: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_safetensors(path, state, {}, torch.float32, stop)
    assert path.read_bytes() == before
    assert files(tmp_path) == {"a.safetensors"}


def test_models(lseg: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NUMBERS.keys() == VARIANTS.keys()
    monkeypatch.setenv("LSEG_WEIGHTS", str(tmp_path))
    (tmp_path / "lseg_rn101.ckpt").touch()
    done = lseg("models")
    assert done.status == 0
    head, *lines = done.out.splitlines()
    assert head.split() == ["variant", "image", "encoder", "text", "encoder", "numbers", "weights"]
    rows = {line.split()[0]: line for line in lines}
    assert rows.keys() == VARIANTS.keys() | HUB_VARIANTS.keys()
    assert rows["lseg_rn101"].endswith(f"here: {tmp_path}/lseg_rn101.ckpt")
    missing = [f"{tmp_path}/lseg_vit_l16{suffix}" for suffix in (".safetensors", ".ckpt")]
    assert rows["lseg_vit_l16"].endswith(f"missing: {missing[0]} or {missing[1]}")
    assert "ViT-L/16" in rows["lseg_vit_l16_rn50x16"] and "CLIP RN50x16" in rows["lseg_vit_l16_rn50x16"]
    assert "here: " in rows["lseg_mini"]

    file, _ = VARIANTS["lseg_mini"].weights or ("", "")
    monkeypatch.setitem(VARIANTS, "lseg_mini", replace(VARIANTS["lseg_mini"], weights=(file, "0" * 64)))
    assert re.search("^lseg_mini .*not usable: .* is damaged", lseg("models").out, re.MULTILINE)


def facts(text: str) -> dict[str, str]:
    return dict(re.split(" {2,}", line, maxsplit=1) for line in text.splitlines())


def test_info_of_our_files(lseg: Any, tiny: Path) -> None:
    found = facts(lseg("info", tiny).out)
    assert found["format"] == f"safetensors, {weights.FORMAT}"
    assert (found["variant"], found["image encoder"]) == ("tiny", "mobilenetv2_035")
    assert (found["text encoder"], found["licence"]) == ("none", "MIT")
    state = weights.own_state(tiny_net())
    assert found["tensors"] == str(len(state))
    assert found["parameters"] == str(sum(x.numel() for x in state.values()))


def test_info_of_the_originals_files(lseg: Any, original: Path) -> None:
    found = facts(lseg("info", original).out)
    assert found["format"] == "checkpoint of PyTorch Lightning, with the original's names"
    assert (found["variant"], found["image encoder"]) == ("tiny_vit", "ViT 32x4, patch 32")
    assert (found["text encoder"], found["epoch"]) == ("CLIP text 16x2", "3")
    assert (found["optimizer_states"], found["licence"]) == ("(1 inside)", "unknown")
    assert re.fullmatch(r"\d+, and \d+ that LSeg does not use", found["tensors"])
    assert re.match(r"float32 [\d.]+ MB, float16 [\d.]+ MB, int64 128 bytes", found["types"])


def test_info_of_strange_files(lseg: Any, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(2, 2)}, tmp_path / "a.pt")
    found = facts(lseg("info", tmp_path / "a.pt").out)
    assert found["format"] == "plain weights"
    assert found["variant"].startswith("not recognised: it is no variant known here (lseg_mini, ")
    for name, content, reason in (
        ("b.ckpt", b"<!DOCTYPE html><html>", "it is a web page"),
        ("c.ckpt", (tmp_path / "a.pt").read_bytes()[:-200], "it is damaged, or cut short"),
        ("d.ckpt", b"", "it is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        done = lseg("info", tmp_path / name)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(f"lseg: {tmp_path / name} cannot be used: {reason}")
        assert done.err.count("\n") == 1
    assert lseg("info", tmp_path / "none.ckpt").err.startswith("lseg: there is no weights file at")


def test_a_part_of_somebody_elses_is_left_alone(lseg: Any, tiny: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "out.part.png")
    theirs = [tmp_path / "out_mask.part.png" / "a.txt", tmp_path / "b.safetensors.part"]
    theirs[0].parent.mkdir()
    for path in theirs:
        path.write_text("theirs")
    before = photo.read_bytes()
    out, weights_file = tmp_path / "out.png", tmp_path / "b.safetensors"
    assert lseg("segment", photo, "--model", tiny, "--labels", "road, sky", "-o", out).status == 0
    write_safetensors(weights_file, {"a": torch.zeros(1)}, {}, torch.float32, lambda written: None)
    assert photo.read_bytes() == before
    assert [path.read_text() for path in theirs] == ["theirs", "theirs"]
    assert len(list(tmp_path.iterdir())) == 6
    plain = tmp_path / "plain"
    plain.touch()
    for path in (out, tmp_path / "out_mask.png", weights_file):
        assert path.stat().st_mode == plain.stat().st_mode


def test_errors_of_writing_name_what_was_asked_for(
    lseg: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, photo = video(tmp_path / "film.mp4"), save(tmp_path / "a.png")
    folders = [tmp_path / "out_mask.png", tmp_path / "out.mp4", tmp_path / "b.safetensors"]
    arguments = ("--model", tiny, "--labels", "road, sky", "-o")
    for folder in folders:
        (folder / "full").mkdir(parents=True)
    done = lseg("segment", photo, *arguments, tmp_path / "out.png")
    assert (done.status, done.err) == (1, f"lseg: {folders[0]}: Is a directory\n")
    with pytest.raises(IsADirectoryError) as caught:
        write_safetensors(folders[2], {"a": torch.zeros(1)}, {}, torch.float32, lambda written: None)
    assert caught.value.filename == str(folders[2])

    with monkeypatch.context() as patch:
        patch.setattr(cv2.VideoWriter, "write", lambda self, picture: None)  # so it is on a full disk
        done = lseg("segment", film, *arguments, tmp_path / "new.mp4")
    reason = "only 0 of 4 frames could be written; is the disk full?"
    assert (done.status, done.err) == (1, f"lseg: {tmp_path / 'new.mp4'}: {reason}\n")
    assert not (tmp_path / "new.mp4").exists()

    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda self: False)
    done = lseg("segment", film, *arguments, tmp_path / "new.mp4")
    assert (done.status, done.err) == (1, f"lseg: {tmp_path / 'new.mp4'}: OpenCV cannot write an mp4 video there\n")

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = lseg("segment", film, *arguments, tmp_path / "new", "--masks")
    mask = re.fullmatch(r"lseg: (\S+): No space left on device\n", done.err)
    assert mask is not None and mask[1] == str(tmp_path / "new" / "film_masks")
    assert not files(tmp_path / "new")


def test_convert_survives_hostile_nesting(lseg: Any, original: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(original, weights_only=True)
    shared = torch.zeros(1_000_000)
    itself: list[Any] = [shared]
    itself.append(itself)
    nested: list[Any] = [shared]
    for _ in range(40):
        nested = [nested, nested]
    torch.save({"state_dict": checkpoint["state_dict"], "itself": itself, "nested": nested}, original)
    done = lseg("convert", original, tmp_path / "b.safetensors")
    assert (done.status, done.err) == (0, "")
    assert "dropped: itself, 4.0 MB\n" in done.out
    assert "dropped: nested, no tensors\n" in done.out


def test_a_reader_that_has_gone(original: Path, tmp_path: Path) -> None:
    code = "import sys; from lseg_ros.cli.main import main; sys.exit(main())"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code, "info", original],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("size", [20_000_000, 2_000_000_000])
def test_too_little_memory(lseg: Any, tiny: Path, tmp_path: Path, size: int) -> None:
    photo = save(tmp_path / "a.png")
    arguments = ("--model", tiny, "--labels", "road, sky", "--device", "cpu", "-o", tmp_path / "o.png")
    done = lseg("segment", photo, *arguments, "--input-size", size)
    assert (done.status, done.err) == (1, "lseg: there is too little memory; try a smaller --input-size\n")
    assert files(tmp_path) == {"a.png"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", "a.png", "--labels", "road", "-o", ""],
        ["convert", "a.ckpt", ""],
        ["train", "--config", "a.yaml", "--data", ".", "--out", ""],
        ["eval", "--config", "a.yaml", "--data", ".", "--out", ""],
    ],
)
def test_an_output_without_name(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(": the name is empty\n")


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_gives_its_first_picture(lseg: Any, tiny: Path, tmp_path: Path, suffix: str) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures = [image.fromarray(np.full((20, 30, 3), shade, np.uint8)) for shade in (0, 100, 200)]
    moving, still = tmp_path / "in" / f"moving{suffix}", tmp_path / "in" / f"still{suffix}"
    moving.parent.mkdir()
    pictures[1].save(moving, save_all=True, append_images=pictures[2:] + pictures[:1], lossless=True)
    pictures[1].save(still, lossless=True)
    if cv2.imread(str(still)) is None:
        pytest.skip(f"this OpenCV reads no {suffix}")
    arguments = ("--model", tiny, "--labels", "road, sky", "--device", "cpu", "-o", tmp_path / "out")
    for inputs in ([moving.parent], [moving, still]):
        done = lseg("segment", *inputs, *arguments)
        assert done.status == 0
        assert done.err == f"lseg: {moving} holds 3 pictures; only the first is segmented\n"
        assert files(tmp_path / "out") == {f"{n}_{k}.png" for n in ("moving", "still") for k in ("mask", "overlay")}
        first, alone = (load(tmp_path / "out" / f"{name}_overlay.png") for name in ("moving", "still"))
        np.testing.assert_array_equal(first, alone)


def test_sizes_as_people_read_them() -> None:
    sizes = {0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 49_900: "49.9 kB", 100_000: "0.1 MB", 2_540_000: "2.5 MB"}
    assert {size: megabytes(size) for size in sizes} == sizes


def test_a_variant_from_a_json_file(lseg: Any, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = logits(original)
    monkeypatch.delitem(variants.VARIANTS, VIT.name)
    numbers, out = tmp_path / "mine.json", tmp_path / "b.safetensors"
    numbers.write_text(to_json(replace(VIT, name="mine")))
    done = lseg("convert", original, out, "--variant", numbers)
    assert (done.status, done.err) == (0, "")
    assert load_model(out).variant.name == "mine"
    assert torch.equal(logits(out), expected)
    photo = save(tmp_path / "a.png")
    segmenting = ("segment", photo, "--model", original, "--labels", "road, sky", "-o", tmp_path / "o.png")
    assert lseg(*segmenting, "--variant", numbers).status == 0

    for text in ("{}", "no JSON", "[" * 100_000, '{"backbone": 3}'):
        numbers.write_text(text)
        done = lseg(*segmenting, "--variant", numbers)
        assert done.status == 1
        assert re.fullmatch(rf"lseg: {numbers} cannot be used: .+\n", done.err)
    done = lseg(*segmenting, "--variant", tmp_path / "none.json")
    assert (done.status, done.err) == (1, f"lseg: {tmp_path / 'none.json'}: No such file or directory\n")
