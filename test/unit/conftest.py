"""Fixtures that several files of unit tests use."""

import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from tiny import TINY, HashText, tiny_net

from lseg_ros.cli.main import main
from lseg_ros.model import weights
from lseg_ros.model.text import TextEncoder, build_text_encoder
from lseg_ros.model.variants import VARIANTS, Variant
from lseg_ros.model.weights import save_model
from lseg_ros.training import trainer


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Computes with one thread: small networks do not gain from more, and sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variant "tiny" can be loaded and trained by its name."""

    def build(variant: Variant) -> TextEncoder:
        return HashText() if variant.text == "none" else build_text_encoder(variant)

    monkeypatch.setitem(VARIANTS, "tiny", TINY)
    monkeypatch.setattr(weights, "build_text_encoder", build)
    monkeypatch.setattr(trainer, "build_text_encoder", build)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has no home folder: no HOME, and its user is unknown."""

    def unknown(*_: Any) -> NoReturn:
        raise KeyError("no such user")

    for name in ("HOME", "XDG_CACHE_HOME", "LSEG_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(RuntimeError):
        Path.home()


@dataclass
class Result:
    """The exit status and output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def lseg(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process."""

    def run(*arguments: object) -> Result:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(tiny_net(), path, "MIT")
    return path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_file: Path) -> Path:
    """Returns the weights file of the tiny network, and installs its text encoder."""
    monkeypatch.setattr(weights, "build_text_encoder", lambda variant: HashText())
    return tiny_file
