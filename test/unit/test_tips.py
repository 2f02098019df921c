"""TIPSv2 with small random weights, compared with the library's own implementation."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import lseg_ros
from lseg_ros import Segmenter, load_model
from lseg_ros.cli.main import main
from lseg_ros.model import hub
from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.variants import HUB_VARIANTS, TIPSV2_B14, TIPSV2_L14, variant_named

transformers = pytest.importorskip("transformers", minversion="5.14", reason="TIPSv2 needs the extra hub")

WIDTH, PHRASES = 32, ["a cat", "bad cab", "c"]


def save_small(folder: Path, width: int = WIDTH) -> Any:
    """Writes a small model with seeded weights and a tokenizer of letters. Returns the library's model."""
    from transformers import Tipsv2Config, Tipsv2Model, Tipsv2TextConfig, Tipsv2Tokenizer, Tipsv2VisionConfig

    sizes: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": 3, "num_attention_heads": 4}
    vocabulary = {"<pad>": 0, "<unk>": 1, "\u2581": 2, **{chr(97 + i): 3 + i for i in range(26)}}
    text = Tipsv2TextConfig(**sizes, intermediate_size=64, vocab_size=len(vocabulary))
    vision = Tipsv2VisionConfig(**sizes, image_size=56, layerscale_value=0.5)
    torch.manual_seed(0)
    model = Tipsv2Model(Tipsv2Config(text_config=text.to_dict(), vision_config=vision.to_dict())).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # none is zero, as biases are before training
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    Tipsv2Tokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("hub") / "small_tips"
    return folder, save_small(folder)


@pytest.fixture(autouse=True)
def small_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HUB_VARIANTS, "small_tips", replace(TIPSV2_B14, name="small_tips", embed_dim=WIDTH))


def test_text_is_the_librarys(small: tuple[Path, Any]) -> None:
    folder, library = small
    net = load_model(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for phrase in PHRASES:  # one by one, so that the library needs no padding
        tokens = tokenizer(phrase, return_tensors="pt")
        with torch.no_grad():
            pooled = library.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output
        expected = functional.normalize(pooled, dim=-1)
        torch.testing.assert_close(net.text_encoder(PHRASES)[PHRASES.index(phrase)][None], expected, atol=1e-5, rtol=0)
    assert len(net.variant.templates) == 9
    assert net.encode_text(PHRASES).shape == (3, WIDTH)
    with pytest.raises(ValueError, match="reads at most 64"):
        net.check_phrase("a" * 80)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (32, 160)])
def test_pixels_are_the_librarys_with_values_in_place_of_attention(
    small: tuple[Path, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, library = small
    net = load_model(folder)
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    attention = library.vision_model.encoder.layer[-1].attention

    def values(hidden: torch.Tensor, *rest: object, **options: object) -> tuple[torch.Tensor, None]:
        return attention.o_proj(attention.v_proj(hidden)), None

    shrunk = functional.interpolate(images, size=tuple(n * 7 // 8 for n in size), mode="bilinear", align_corners=False)
    with torch.no_grad():
        plain = library.vision_model(pixel_values=shrunk).last_hidden_state[:, 2:]
        monkeypatch.setattr(attention, "forward", values)
        expected = library.vision_model(pixel_values=shrunk).last_hidden_state[:, 2:]
        (found,) = net.encoder(images)
    assert found.shape == (1, WIDTH, size[0] // 16, size[1] // 16)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, atol=1e-4, rtol=0)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_it_segments_and_gives_features_as_any_other(small: tuple[Path, Any]) -> None:
    net = load_model(small[0])
    assert net.licence == "Apache-2.0"
    rgb = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    segmenter = Segmenter(net, "cpu", input_size=96)
    segmenter.set_labels(["a cat", "bad"])
    image = segmenter.embed(rgb)
    assert image.coordinates.shape == (1, WIDTH, 8, 12)
    result = segmenter.score(image)
    assert result.mask.shape == (60, 100)
    vectors, text = segmenter.features_at(image, [[50, 30]]), segmenter.encode_text(["a cat", "bad"])
    shares = functional.softmax(torch.from_numpy(vectors @ text.T) * net.variant.logit_scale, dim=1)[0]
    assert net.variant.logit_scale == pytest.approx(197.4, abs=0.1)
    assert result.scores("a cat")[30, 50] == pytest.approx(shares[0].item(), abs=0.05)


def test_another_backend_gives_the_same(small: tuple[Path, Any]) -> None:
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason="needs the extra onnx")
    exported = Segmenter(load_model(small[0]), "cpu", input_size=96, backend="onnxruntime")
    plain = Segmenter(load_model(small[0]), "cpu", input_size=96)
    for shape in ((60, 100, 3), (100, 60, 3)):  # the file is for all sizes
        rgb = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        found, expected = (segmenter.embed(rgb).coordinates for segmenter in (exported, plain))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_variants_are_distinguished(small: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = small
    assert load_model(folder).variant.name == "small_tips"
    with pytest.raises(CheckpointError, match="holds small_tips, and tipsv2_l14 was asked for"):
        load_model(folder, "tipsv2_l14")
    assert variant_named("tipsv2_l14") is TIPSV2_L14
    save_small(tmp_path / "other", width=16)
    with pytest.raises(CheckpointError, match="'tipsv2' of width 16, which is none of"):
        load_model(tmp_path / "other")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "config.json").write_text("{}"), "does not say what network"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "holds no TIPSv2 that can be read"),
    ],
)
def test_damaged_folders(tmp_path: Path, spoil: Callable[[Path], object], reason: str) -> None:
    save_small(tmp_path / "m")
    spoil(tmp_path / "m")
    with pytest.raises(CheckpointError, match=reason):
        load_model(tmp_path / "m")


def test_by_name_from_the_users_folder(
    small: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LSEG_WEIGHTS", str(small[0].parent))
    assert load_model("small_tips").variant.name == "small_tips"
    with pytest.raises(FileNotFoundError, match=r"tipsv2_b14/model.safetensors, or run: lseg fetch tipsv2_b14"):
        load_model("tipsv2_b14")
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "lseg fetch tipsv2_l14; licence Apache-2.0" in listed
    assert "google/tipsv2-b14, patch 14" in listed


def test_without_the_library(small: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"lseg_ros\[hub\]"):
        hub.load_from_hub(small[0], None)


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
    code = "import sys; from lseg_ros.cli.main import main; sys.exit(main(['fetch', 'tipsv2_b14']))"
    done = run(code, HF_HUB_OFFLINE="1", LSEG_WEIGHTS=str(tmp_path), HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "tipsv2_b14: google/tipsv2-b14, about 781.0 MB, licence Apache-2.0",
        f"into {tmp_path / 'tipsv2_b14'}",
    ]
    assert done.stderr.startswith("lseg: google/tipsv2-b14 could not be fetched: ")
    assert "Traceback" not in done.stderr


def test_fetch_knows_what_is_on_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "lseg_vit_l16"]) == 1
    assert "lseg_vit_l16 is not on the Hub; tipsv2_b14, tipsv2_l14" in capsys.readouterr().err
