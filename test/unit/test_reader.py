"""Foreign weights files: no code in them runs, and what cannot be used is named in a message."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from beside import SHARED
from original import original_shapes, save_lightning
from safetensors.torch import save_file
from torch import Tensor

from lseg_ros.model.keymap import from_original
from lseg_ros.model.reader import CheckpointError, read_others, read_weights
from lseg_ros.model.variants import (
    LSEG_RN101,
    LSEG_VIT_B32,
    LSEG_VIT_L16,
    LSEG_VIT_L16_RN50X16,
    CnnBackbone,
    HeadBlock,
    Variant,
    to_json,
)
from lseg_ros.model.weights import FORMAT, expected_shapes, load_model, recognise

FULL_KEYS = SHARED / "reference" / "full_keys.txt"
FULL = {
    "vit_l16": LSEG_VIT_L16,
    "rn50x16": LSEG_VIT_L16_RN50X16,
    "vit_b32": LSEG_VIT_B32,
    "rn101": LSEG_RN101,
}


class Reduced:
    """An object that pickles as given results of `__reduce__`: a function to call, its arguments, and so on."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __reduce__(self) -> tuple:
        return self.parts


class Storage:
    """An object that pickles as the id of a stored tensor."""

    def __init__(self, *pid: object) -> None:
        self.pid = pid


class Pickler(pickle.Pickler):
    def persistent_id(self, item: object) -> object:
        return item.pid if isinstance(item, Storage) else None


def pickled(content: object) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


def write_zip(path: Path, data: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """Writes a checkpoint with a given pickle and one storage, with the numbers 0 to 3."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/data/0", torch.arange(4.0).numpy().tobytes())
        archive.writestr("a/version", "3\n")


def stored(*, offset: Any = 0, size: Any = (4,), stride: Any = (1,), key: str = "0") -> Reduced:
    storage = Storage("storage", torch.FloatStorage, key, "cpu", 4)
    return Reduced(torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict()))


GOOD = {"scratch.a": torch.arange(3.0)}
# What is to be hidden in a checkpoint, from the path of a file that is there when it ran.
ATTACKS: dict[str, Callable[[str, str], object]] = {
    "os.system": lambda path, code: Reduced(os.system, (f"touch {path}",)),
    "eval": lambda path, code: Reduced(eval, (code,)),
    "open": lambda path, code: Reduced(open, (path, "w")),
    "os.open": lambda path, code: Reduced(os.open, (path, os.O_CREAT)),
    "__setstate__": lambda path, code: Reduced(str, (code,), {}, None, None, exec),
    "attributes": lambda path, code: Reduced(map(eval, [code]).__next__, ()),
}
PLACES: dict[str, Callable[[object], object]] = {
    "in the state dict": lambda attack: {"state_dict": {**GOOD, "b": attack}},
    "in callbacks": lambda attack: {"state_dict": GOOD, "callbacks": {"a": [{"b": attack}]}},
    "as a key": lambda attack: {"state_dict": GOOD, "callbacks": {attack: 1}},
    "as the key of a tensor": lambda attack: {"state_dict": {**GOOD, attack: torch.ones(1)}},
    "in a plain state dict": lambda attack: {**GOOD, "b": attack},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_in_a_checkpoint_runs(attack: str, place: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "a.ckpt"
    code = f"open({str(marker)!r}, 'w').close()"
    torch.save(PLACES[place](ATTACKS[attack](str(marker), code)), path)
    tensors, _ = read_weights(path)
    torch.testing.assert_close(tensors, GOOD)
    read_others(path)
    assert not marker.exists()
    with suppress(Exception):  # it may well not survive its own attack
        torch.load(path, weights_only=False)
    assert marker.exists(), "this would not have been an attack"


def test_a_checkpoint_that_is_an_attack_and_no_more(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "a.pt"
    attack = Reduced(open, (str(marker), "w"))
    torch.save(attack, path)
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_weights(path)
    torch.save({"state_dict": GOOD, "a": attack}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="before version 1.6"):
        read_weights(path)
    assert not marker.exists()


def test_functions_of_pytorch_stay_as_they_are(tmp_path: Path) -> None:
    """A pickle may set the state of anything that it can name."""
    rebuild = torch._utils._rebuild_tensor_v2
    before = rebuild.__defaults__
    state = pickled((None, {"__defaults__": (1, 2, 3)}))[2:-1]
    for name in (b"torch._utils\n_rebuild_tensor_v2", b"torch\nFloatStorage", b"collections\nOrderedDict", b"a\nb"):
        write_zip(tmp_path / "a.ckpt", b"\x80\x02c" + name + b"\n" + state + b"b.")
        with pytest.raises(CheckpointError, match="holds no state dict"):
            read_weights(tmp_path / "a.ckpt")
    assert rebuild.__defaults__ == before


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripts_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")
    monkeypatch.delattr(torch.jit, "load")
    with pytest.raises(CheckpointError, match="not a whole model or a script"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "data",
    [
        pickled({"a": stored(), "b": Reduced(torch.UntypedStorage, (2**50,))}),
        pickled({"a": stored(), "b": Reduced(bytearray, (2**50,))}),
        pickled({"a": stored()})[:-1] + b"r\xff\xff\xff\xff.",  # room in the memo for four thousand million objects
    ],
)
def test_memory_that_a_pickle_asks_for(tmp_path: Path, data: bytes) -> None:
    write_zip(tmp_path / "a.ckpt", data)
    torch.testing.assert_close(read_weights(tmp_path / "a.ckpt")[0], {"a": torch.arange(4.0)})


def test_a_bytearray_is_refused_before_it_is_made(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.ckpt", b"\x80\x05\x96" + (2**40).to_bytes(8, "little"))
    with pytest.raises(CheckpointError, match="cannot be used"):
        read_weights(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    "tensor",
    [
        stored(size=(5,)),
        stored(offset=4),
        stored(offset=-1),
        stored(size=(2, 2), stride=(3, 1)),
        stored(size=(2,), stride=(-1,), offset=2),
        stored(size=(2, 2), stride=(1,)),
        stored(size=(2**62, 2**62), stride=(1, 1)),
        stored(size="ab"),
        stored(key="1"),
        stored(key="../data.pkl"),
        Storage("module", torch.FloatStorage, "0", "cpu", 4),
        Storage("storage", "float", "0", "cpu", 4),
        Storage("storage"),
    ],
)
def test_tensors_beyond_what_is_stored(tmp_path: Path, tensor: object) -> None:
    write_zip(tmp_path / "a.ckpt", pickled({"a": tensor}))
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "a.ckpt")


def test_tensors_of_any_layout(tmp_path: Path) -> None:
    parts = {
        "whole": stored(),
        "transposed": stored(size=(2, 2), stride=(1, 2)),
        "part": stored(offset=1, size=(2,)),
        "scalar": stored(offset=3, size=(), stride=()),
        "none": stored(offset=4, size=(0,)),
        "parameter": Reduced(torch._utils._rebuild_parameter, (stored(), True, OrderedDict())),
    }
    write_zip(tmp_path / "a.ckpt", pickled(OrderedDict(parts)))
    x = torch.arange(4.0)
    expected = {"whole": x, "transposed": x.reshape(2, 2).T, "part": x[1:3], "scalar": x[3], "none": x[:0]}
    torch.testing.assert_close(read_weights(tmp_path / "a.ckpt")[0], expected | {"parameter": x})
    write_zip(tmp_path / "b.ckpt", pickled(parts), zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError):
        read_weights(tmp_path / "b.ckpt")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_types_of_tensors(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {"a": torch.tensor([0, 1, 2]).to(dtype), "b": torch.nn.Parameter(torch.ones(2))}
    torch.save(state, tmp_path / "a.pt")
    torch.testing.assert_close(read_weights(tmp_path / "a.pt")[0], {"a": state["a"], "b": torch.ones(2)})


def test_lightning(tmp_path: Path) -> None:
    """Python's and PyTorch's own readers fail on the class that is not installed."""
    path = tmp_path / "a.ckpt"
    save_lightning(path, GOOD)
    for weights_only in (True, False):
        with pytest.raises((pickle.UnpicklingError, ModuleNotFoundError)):
            torch.load(path, weights_only=weights_only)
    torch.testing.assert_close(read_weights(path)[0], {"net.scratch.a": GOOD["scratch.a"]})
    others = read_others(path)
    assert others["epoch"] == 200 and others["pytorch-lightning_version"] == "1.4.9"
    torch.testing.assert_close(others["optimizer_states"][0]["state"][0]["momentum_buffer"], torch.ones(3))


def test_cut_short_anywhere(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.ckpt", tmp_path / "a.ckpt"
    save_lightning(whole, GOOD)
    content = whole.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError) as caught:
            read_weights(path)
        assert str(path) in str(caught.value) and "fetch it again" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\n <!DOCTYPE html><title>Quota exceeded</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (bytes(range(256)) * 4, "no weights file"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "demo_e200.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason):
        load_model(path)


def meta(variant: Variant) -> dict[str, Tensor]:
    """Returns the original's checkpoint in full size on the meta device, which needs no memory."""
    with torch.device("meta"):
        return {f"net.{name}": torch.empty(shape) for name, shape in original_shapes(variant).items()}


@pytest.mark.parametrize("name", FULL)
def test_full_size_names_and_shapes(name: str) -> None:
    ours, unused = from_original(meta(FULL[name]))
    assert {key: tuple(tensor.shape) for key, tensor in ours.items()} == expected_shapes(FULL[name])
    assert recognise(ours, Path("a.ckpt")) is FULL[name]
    assert all(".visual." in key or "logit_scale" in key or "resConfUnit1" in key or ".model." in key for key in unused)


def test_the_published_checkpoint_has_730_tensors() -> None:
    state = meta(LSEG_VIT_L16)
    assert len(state) == 730 and len(from_original(state)[1]) == 152 + 1 + 4 + 12


@pytest.mark.skipif(not FULL_KEYS.is_file(), reason="needs the original's list of keys beside the project")
def test_the_rule_for_names_is_the_original_s() -> None:
    listed = [line.split("\t") for line in FULL_KEYS.read_text().splitlines()]
    assert {key: shape for key, shape, _ in listed} == {k: str(tuple(t.shape)) for k, t in meta(LSEG_VIT_L16).items()}


def test_facts_that_shapes_do_not_show() -> None:
    ours, _ = from_original(meta(replace(LSEG_VIT_L16, head_block=HeadBlock("depthwise", 1))))
    with pytest.raises(CheckpointError, match=r"give the variant: lseg_vit_l16\+bottleneck1"):
        recognise(ours, Path("a.ckpt"))


def test_keys_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = {key.removeprefix("net."): tensor for key, tensor in meta(LSEG_VIT_B32).items()}
    state.pop("scratch.head1.bias")
    state |= {"scratch.head1.weight": torch.empty(512, 256, 3, 3, device="meta"), "scratch.extra": torch.empty(1)}
    with pytest.raises(CheckpointError) as caught:
        recognise(from_original(state)[0], Path("a.ckpt"))
    for part in (
        "the nearest is lseg_vit_b32",
        "decoder.head.bias is missing",
        "scratch.extra is unexpected",
        "decoder.head.weight has shape (512, 256, 3, 3) instead of (512, 256, 1, 1)",
    ):
        assert part in str(caught.value)


def test_a_file_cannot_name_an_address_to_fetch_from(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    elsewhere = replace(LSEG_RN101, backbone=CnnBackbone("hf-hub:somebody/something", taps=(1, 2, 3, 4)))
    save_file({"a": torch.zeros(1)}, path, {"format": FORMAT, "config": to_json(elsewhere)})
    with pytest.raises(ValueError, match="timm has no model 'hf-hub:somebody/something'"):
        load_model(path)
