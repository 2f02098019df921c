"""`lseg verify` accepts a checkpoint that could be the published one, and names everything that is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from original import original_shapes, original_state, save_lightning
from torch import Tensor

from lseg_ros import Segmenter, load_model
from lseg_ros.cli import verify
from lseg_ros.cli.main import main
from lseg_ros.cli.verify import _check_photos
from lseg_ros.model.published import check_tensors
from lseg_ros.model.variants import VARIANTS, ClipText, Decoder, Variant, VitBackbone

State = dict[str, Tensor]
VIT = Variant(
    "small_vit",
    VitBackbone(32, 4, 4, 32, 4, taps=(0, 1, 2, 3), channels=(8, 8, 16, 32), scale=(8, 4, 2, 1)),
    Decoder(16, upsample=(2, 2, 2, 2)),
    ClipText(16, 2, 2),
    64,
)
UNUSED = "scratch.refinenet4.resConfUnit1."
KERNEL = "scratch.head1.weight"


def published() -> State:
    """Seeded weights of a small network, with facts as they are known of the published file."""
    state = original_state(original_shapes(VIT, visual=(32, 1)))
    for key in state:
        if key.startswith(UNUSED) and key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
    state["clip_pretrained.logit_scale"] = torch.tensor(4.6052)
    return state


def sizes(state: State) -> tuple[int, int]:
    return len(state), sum(tensor.numel() for tensor in state.values())


def test_a_trained_network_of_these_names_passes() -> None:
    state = published()
    findings = check_tensors(state, VIT, *sizes(state))
    assert all(finding.ok for finding in findings), findings
    with_prefix = {f"net.{key}": tensor for key, tensor in state.items()}
    assert check_tensors(with_prefix, VIT, *sizes(state)) == findings


def without(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


def counted(state: State) -> None:
    state.update({key: torch.tensor(0) for key in state if key.endswith("num_batches_tracked")})


def once_more(state: State) -> None:
    state["scratch.refinenet1.resConfUnit1.bn1.num_batches_tracked"] = torch.tensor(101)


def not_a_number(state: State) -> None:
    state[KERNEL] = state[KERNEL].clone()
    state[KERNEL].view(-1)[3] = float("nan")


def in_half(state: State) -> None:
    state.update({key: tensor.half() for key, tensor in state.items() if tensor.is_floating_point()})


def as_before_training(state: State) -> None:
    key = "scratch.refinenet2.resConfUnit1.bn1.weight"
    state[key] = torch.ones_like(state[key])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("scratch.head1.bias"), "decoder.head.bias is missing"),
        (without("pretrained.model.norm.bias"), "the published file has"),
        (not_a_number, f"not finite in {KERNEL}"),
        (counted, "never trained"),
        (once_more, r"has counted \[0, 100, 101\] batches"),
        (lambda state: state.update({"clip_pretrained.logit_scale": torch.tensor(2.66)}), "2.6600; in OpenAI's"),
        (lambda state: state.update({KERNEL: state[KERNEL] * 100}), f"1 matrices have standard deviations .*{KERNEL}"),
        (as_before_training, "weights are all equal in scratch.refinenet2"),
        (in_half, "the published file has CLIP in float16"),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[State], object], reason: str) -> None:
    state = published()
    expected = sizes(state)
    change(state)
    wrong = [finding for finding in check_tensors(state, VIT, *expected) if not finding.ok]
    assert len(wrong) == 1, wrong
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(wrong[0].text)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a small network the published one."""
    state = published()
    monkeypatch.setitem(VARIANTS, VIT.name, VIT)
    for name, value in zip(("VARIANT", "TENSORS", "NUMBERS"), (VIT.name, *sizes(state)), strict=True):
        monkeypatch.setattr(verify, name, value)


def test_the_command_judges_and_draws(tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the photographs come with scikit-learn")
    save_lightning(tmp_path / "demo.ckpt", published())
    assert main(["verify", str(tmp_path / "demo.ckpt"), "-o", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("ok ") for line in lines) >= 6  # the tensors
    assert any(line.startswith("NOT") and "area is" in line for line in lines)  # random weights find no temple
    assert lines[-1] == "demo.ckpt is not, or not completely, the published network"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["demo_china.png", "demo_flower.png"]


def test_a_network_that_segments_well_passes_the_photographs(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="the photographs come with scikit-learn")
    options: Any = type("Options", (), {"output": None, "file": tmp_path / "mini.ckpt"})
    # lseg_mini does not find the flower.
    findings = _check_photos(Segmenter(load_model("lseg_mini_street"), "cpu"), options)
    assert len(findings) == 4
    assert all(finding.ok for finding in findings), findings


def test_other_files_are_refused(tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pt")
    assert main(["verify", str(tmp_path / "other.pt")]) == 1
    assert "is no checkpoint of the original LSeg" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "none.ckpt")]) == 1
    assert "there is no weights file" in capsys.readouterr().err
    save_lightning(tmp_path / "demo.ckpt", published())
    assert main(["verify", str(tmp_path / "demo.ckpt"), "--ade20k", str(tmp_path)]) == 1
    assert "ADEChallengeData2016" in capsys.readouterr().err


def test_ade20k_is_compared_with_what_users_report(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2
    import numpy as np

    from lseg_ros.inference import multiscale

    monkeypatch.setattr(multiscale, "SCALES", (0.5,))  # time
    for folder, suffix in (("images", "jpg"), ("annotations", "png")):
        path = tmp_path / "ADEChallengeData2016" / folder / "validation" / f"a.{suffix}"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.ones((32, 32, 3) if suffix == "jpg" else (32, 32), np.uint8))
    save_lightning(tmp_path / "demo.ckpt", published())
    assert main(["verify", str(tmp_path / "demo.ckpt"), "--ade20k", str(tmp_path)]) == 1
    assert "NOT  ADE20K: mIoU" in capsys.readouterr().out
