"""Weights files: what is written is read again, and what cannot be used is named in a message."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import TINY, HashText, tiny_net

from lseg_ros.model import text, variants, weights
from lseg_ros.model.reader import CheckpointError
from lseg_ros.model.variants import to_json
from lseg_ros.model.weights import load_model, own_state, save_model


@pytest.fixture(autouse=True)
def tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(variants.VARIANTS, "tiny", TINY)
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())


def test_round_trip(tmp_path: Path) -> None:
    net = tiny_net(5)
    save_model(net, tmp_path / "a.safetensors", "MIT", dtype=torch.float32)
    again = load_model(tmp_path / "a.safetensors")
    assert again.licence == "MIT" and not again.training
    for key, value in own_state(net).items():
        torch.testing.assert_close(again.state_dict()[key], value, rtol=0, atol=0)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\xef\xbb\xbf<!doctype html>", "web page"),
        (b"<!-- saved from --><html>", "web page"),
        (b"<head><title>Sign in", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04" + b"\0" * 40, "cut short"),
        (b"\x80\x02}q\x00.", "before version 1.6"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "cut short"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(tiny_net(), path, "MIT")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_model(path)


def test_keys_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = {k: v.contiguous() for k, v in own_state(tiny_net()).items()}
    state.pop("decoder.head.bias")
    state["decoder.head.weight"] = torch.zeros(3, 8, 1, 1)
    state["extra"] = torch.zeros(1)
    path = tmp_path / "a.safetensors"
    save_file(state, path, {"format": weights.FORMAT, "config": to_json(TINY)})
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    for part in ("decoder.head.bias is missing", "extra is unexpected", "decoder.head.weight has shape (3, 8, 1, 1)"):
        assert part in str(caught.value)


def test_files_of_others_and_unknown_names(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="is no variant known here"):
        load_model(tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        load_model(tmp_path / "missing.safetensors")
    with pytest.raises(ValueError, match="there is no variant 'lseg_maxi'; known: lseg_mini"):
        load_model("lseg_maxi")


def test_a_damaged_text_encoder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(ValueError, match="damaged or not the published file"):
        text.check_sha256(tmp_path / "x", "0" * 64)
    with pytest.raises(FileNotFoundError, match="is missing"):
        text.check_sha256(tmp_path / "y", "0" * 64)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_model(tiny_net(), path, "MIT")
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="do not have the checksum"):
        load_model(path)


def test_a_file_of_another_variant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LSEG_WEIGHTS", str(tmp_path))
    save_model(tiny_net(), tmp_path / "lseg_rn101.safetensors", "MIT")
    with pytest.raises(CheckpointError, match="is for the variant 'tiny', and 'lseg_rn101' was asked for"):
        load_model("lseg_rn101")
    with pytest.raises(CheckpointError, match="and 'lseg_mini' was asked for"):
        load_model(tmp_path / "lseg_rn101.safetensors", variant="lseg_mini")
    assert load_model(tmp_path / "lseg_rn101.safetensors", variant="tiny").variant.name == "tiny"


def test_metadata_of_others_does_not_matter(tmp_path: Path) -> None:
    state = {k: v.contiguous() for k, v in own_state(tiny_net(4)).items()}
    save_file(state, tmp_path / "a.safetensors", {"format": "pt"})
    assert load_model(tmp_path / "a.safetensors").variant.name == "tiny"  # by its names and shapes


@pytest.mark.parametrize("length", range(0, 256, 8))
def test_any_length_of_the_header_is_accepted(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    save_model(tiny_net(), path, "x" * length)
    assert load_model(path).licence == "x" * length


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_loaded_network_does_not_depend_on_its_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "pt":
        torch.save(own_state(tiny_net(1)), path)
    else:
        save_model(tiny_net(1), path, "MIT")
    net = load_model(path)
    x, text = torch.randn(1, 3, 32, 32), net.encode_text(["a", "b"])
    before = net(x, text)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))  # in place
    torch.testing.assert_close(net(x, text), before, rtol=0, atol=0)
    path.write_bytes(b"")
    torch.testing.assert_close(net(x, text), before, rtol=0, atol=0)


def test_a_state_dict_with_an_external_text_encoder_in_it(tmp_path: Path) -> None:
    state = tiny_net().state_dict() | {"text_encoder.words.weight": torch.zeros(3, 3)}
    torch.save(state, tmp_path / "a.pt")
    assert load_model(tmp_path / "a.pt").variant.name == "tiny"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("backbone", {"name": 5}),
        ("backbone", {"name": "no_such_network"}),
        ("backbone", {"taps": [9]}),
        ("backbone", {"taps": []}),
        ("decoder", {"features": "8"}),
        ("decoder", {"features": -4}),
        ("decoder", {"features": 10**9}),
        ("decoder", {"upsample": [1, 2]}),
        ("decoder", {"unheard_of": 1}),
    ],
)
def test_metadata_that_describes_no_network(tmp_path: Path, part: str, change: dict[str, object]) -> None:
    config = json.loads(to_json(TINY))
    config[part] |= change
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"format": weights.FORMAT, "config": json.dumps(config)})
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_metadata_that_is_no_description(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for config in ("", "[]", "null", "[" * 100_000):
        save_file({"a": torch.zeros(1)}, path, {"format": weights.FORMAT, "config": config})
        with pytest.raises(CheckpointError, match="does not say what network it is for"):
            load_model(path)


def test_weights_of_another_kind_are_named(tmp_path: Path) -> None:
    state = own_state(tiny_net())
    state["decoder.head.bias"] = state["decoder.head.bias"].long()
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"decoder\.head\.bias holds int64"):
        load_model(tmp_path / "a.pt", variant="tiny")


def test_the_candidates_for_a_head_block_are_of_the_rest(tmp_path: Path) -> None:
    state = own_state(tiny_net()) | {"head_block.conv.weight": torch.zeros(1, 1, 3, 3)}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"give the variant: tiny\+bottleneck1, .* tiny\+depthwise1"):
        load_model(tmp_path / "a.pt")


def test_a_folder_of_a_variants_name_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LSEG_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "tiny").mkdir()
    save_model(tiny_net(), tmp_path / "weights" / "tiny.safetensors", "MIT")
    assert load_model("tiny").variant.name == "tiny"


def test_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_model(tiny_net(), tmp_path / "a.safetensors", "MIT")
    assert load_model("~/a.safetensors").variant.name == "tiny"
