"""Output on a terminal that cannot show all characters."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

CODE = """
import sys
from tiny import HashText
from lseg_ros.model import weights
weights.build_text_encoder = lambda variant: HashText()
from lseg_ros.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("encoding", "labels", "shown"),
    [
        ("ascii", "straße, himmel", r"stra\xdfe"),
        ("cp1252", "道路, straße", r"\u9053\u8def"),
    ],
)
def test_a_table_is_printed_on_any_terminal(tiny: Path, tmp_path: Path, encoding: str, labels: str, shown: str) -> None:
    photo, out = tmp_path / "p.png", tmp_path / "q.png"
    assert cv2.imwrite(str(photo), np.full((48, 64, 3), 90, np.uint8))
    command: list[str | Path] = [
        sys.executable,
        "-c",
        CODE,
        "segment",
        photo,
        "-o",
        out,
        "--labels",
        labels,
        "--model",
        tiny,
    ]
    path = os.pathsep.join(
        (*map(str, (Path(__file__).parents[2], Path(__file__).parents[1])), os.environ.get("PYTHONPATH", ""))
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout.decode(encoding)


def test_a_name_that_is_no_utf8_is_printed(lseg: Any, tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"caf\xe9.safetensors")
    done = lseg("info", name)
    assert done.status == 1
    assert r"caf\udce9.safetensors" in done.err
