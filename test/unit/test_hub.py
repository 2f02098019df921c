"""Models of the library transformers in all parts of this package, with small random weights."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_models import WIDTH, save_siglip, save_tips
from torch.nn import functional

import lseg_ros
from lseg_ros import Segmenter, load_model
from lseg_ros.cli.main import main
from lseg_ros.inference import multiscale
from lseg_ros.inference.backends.onnx_files import mark
from lseg_ros.inference.backends.onnx_float16 import export_float16
from lseg_ros.inference.cuda_graphs import Recorder
from lseg_ros.inference.gpu_frames import GpuFrames
from lseg_ros.inference.numerics import numerics_on_gpu
from lseg_ros.model import hub
from lseg_ros.model.deployed import DeployedEncoderDecoder
from lseg_ros.model.fused_encoder_decoder import FusedEncoderDecoder
from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.variants import HUB_VARIANTS, SIGLIP2_B16, TIPSV2_B14, TIPSV2_L14, variant_named

pytest.importorskip("transformers", minversion="5.14", reason="these models need the extra hub")

SAVE: dict[str, Callable[[Path], object]] = {"small_tips": save_tips, "small_siglip": save_siglip}
RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=SAVE)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of each model."""
    path: Path = tmp_path_factory.mktemp("hub") / request.param
    SAVE[request.param](path)
    return path


@pytest.fixture(autouse=True)
def small_are_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, variant in (("small_tips", TIPSV2_B14), ("small_siglip", SIGLIP2_B16)):
        monkeypatch.setitem(HUB_VARIANTS, name, replace(variant, name=name, embed_dim=WIDTH))
    yield


def test_it_segments_and_gives_features_as_any_other(folder: Path) -> None:
    net = load_model(folder)
    step = net.variant.size_step
    segmenter = Segmenter(net, "cpu", input_size=6 * step)
    segmenter.set_labels(["a cat", "bad"])
    image = segmenter.embed(RGB)
    assert image.sizes.padded == (4 * step, 6 * step)
    assert image.coordinates.shape == (1, WIDTH, 8, 12)
    result = segmenter.score(image)
    assert result.mask.shape == (60, 100)
    vectors, text = segmenter.features_at(image, [[50, 30]]), segmenter.encode_text(["a cat", "bad"])
    shares = functional.softmax(torch.from_numpy(vectors @ text.T) * net.variant.logit_scale, dim=1)[0]
    assert result.scores("a cat")[30, 50] == pytest.approx(shares[0].item(), abs=0.05)


def test_multiscale_uses_windows_that_fit_the_patches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiscale, "SCALES", (0.5,))
    segmenter = Segmenter(load_model(folder), "cpu")
    vectors = segmenter.embed_multiscale(RGB[:20, :20]).coordinates
    assert vectors.shape[1] == WIDTH and vectors.norm(dim=1).max() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("backend", "libraries"), [("onnxruntime", ("onnx", "onnxruntime")), ("openvino", ("openvino",))]
)
def test_another_backend_gives_the_same(folder: Path, backend: str, libraries: tuple[str, ...]) -> None:
    for name in libraries:
        pytest.importorskip(name, reason=f"needs an extra for {backend}")
    exported = Segmenter(load_model(folder), "cpu", input_size=96, backend=backend)
    plain = Segmenter(load_model(folder), "cpu", input_size=96)
    for rgb in (RGB, RGB.transpose(1, 0, 2)):  # the file is for all sizes
        found, expected = (segmenter.embed(rgb).coordinates for segmenter in (exported, plain))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_a_float16_export_keeps_directions(folder: Path, tmp_path: Path) -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra onnx")
    net = load_model(folder)
    plain = Segmenter(net, "cpu", input_size=96).embed(RGB)
    path = tmp_path / "float16.onnx"
    fused = FusedEncoderDecoder(net).eval()
    export_float16(fused, path, plain.sizes.padded)
    mark(path, fused)
    found = Segmenter(net, "cpu", input_size=96, backend="onnxruntime", exported=path).embed(RGB)
    cosine = functional.cosine_similarity(found.coordinates, plain.coordinates, dim=1)
    assert cosine.mean() > 0.999


def test_programs_of_a_gpu_give_the_same(folder: Path) -> None:
    net = load_model(folder)
    plain, by_programs = (Segmenter(copy.deepcopy(net), "cpu", input_size=96) for _ in range(2))
    frames = GpuFrames(by_programs.net, by_programs._backend, Recorder(torch.device("cpu")), tf32=False, capture=True)
    by_programs._frames = frames
    results = []
    for segmenter in (plain, by_programs):
        segmenter.set_labels(["a cat", "bad"])
        results.append(segmenter.segment(RGB))
    np.testing.assert_allclose(results[0].confidence, results[1].confidence, atol=1e-5)
    assert np.mean(results[0].mask != results[1].mask) < 1e-3


@pytest.mark.parametrize(("name", "least"), [("float16", 0.999), ("bfloat16", 0.99)])
def test_half_precision_as_on_a_gpu_keeps_directions(folder: Path, *, name: str, least: float) -> None:
    fused, numerics = FusedEncoderDecoder(load_model(folder)).eval(), numerics_on_gpu(name)
    deployed = DeployedEncoderDecoder(fused, numerics.encoder, numerics.decoder)
    images = torch.rand(1, 3, 4 * fused.size_step, 6 * fused.size_step, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        cosine = functional.cosine_similarity(deployed(images), fused(images), dim=1)
    assert cosine.mean() > least


def test_variants_are_distinguished(folder: Path, tmp_path: Path) -> None:
    assert load_model(folder).variant.name == folder.name
    with pytest.raises(CheckpointError, match=f"holds {folder.name}, and tipsv2_l14 was asked for"):
        load_model(folder, "tipsv2_l14")
    assert variant_named("tipsv2_l14") is TIPSV2_L14


def test_widths_are_distinguished(tmp_path: Path) -> None:
    save_tips(tmp_path / "other", width=16)
    with pytest.raises(CheckpointError, match=r"'tipsv2' of width 16 with patches of 14 pixels, which is none of"):
        load_model(tmp_path / "other")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "config.json").write_text("{}"), "does not say what network"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "holds no .* that can be read"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "holds a tokenizer of [0-9] words"),
    ],
)
def test_damaged_folders(tmp_path: Path, folder: Path, spoil: Callable[[Path], object], reason: str) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=reason):
        load_model(tmp_path)


def test_by_name_from_the_users_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSEG_WEIGHTS", str(folder.parent))
    assert load_model(folder.name).variant.name == folder.name
    with pytest.raises(FileNotFoundError, match=r"tipsv2_b14/model.safetensors, or run: lseg fetch tipsv2_b14"):
        load_model("tipsv2_b14")
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "lseg fetch tipsv2_l14; licence Apache-2.0" in listed
    assert "google/tipsv2-b14, patch 14" in listed
    assert "google/siglip2-base-patch16-512, patch 16" in listed


def test_info_says_what_a_folder_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"variant          {folder.name}" in said
    assert f"multiples of {HUB_VARIANTS[folder.name].size_step} pixels" in said
    assert "licence          Apache-2.0" in said


def test_without_the_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"pip install '\.\[hub\]'"):
        hub.load_from_hub(folder, None)


def run(code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(lseg_ros.__file__).parent.parent,
        env=os.environ | environment,
        timeout=300,
    )


def test_other_models_do_not_import_it() -> None:
    code = "import sys; from lseg_ros import Segmenter, load_model; load_model('lseg_mini').encode_text(['sky'])"
    done = run(f"{code}; assert 'transformers' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_fetch_says_what_it_does_and_fails_in_a_sentence(tmp_path: Path) -> None:
    code = "import sys; from lseg_ros.cli.main import main; sys.exit(main(['fetch', 'siglip2_b16']))"
    done = run(code, HF_HUB_OFFLINE="1", LSEG_WEIGHTS=str(tmp_path), HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "siglip2_b16: google/siglip2-base-patch16-512, about 1503.0 MB, licence Apache-2.0",
        f"into {tmp_path / 'siglip2_b16'}",
    ]
    assert done.stderr.startswith("lseg: google/siglip2-base-patch16-512 could not be fetched: ")
    assert "Traceback" not in done.stderr


def test_fetch_knows_what_is_on_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "lseg_vit_l16"]) == 1
    assert "lseg_vit_l16 is not on the Hub; tipsv2_b14, tipsv2_l14, siglip2_b16" in capsys.readouterr().err
