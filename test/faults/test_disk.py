"""A disk that is full: one sentence, no half a file, and a node that works without its cache.

The disk is a small one in memory that only the process under test sees, in a mount namespace of its own.
"""

import signal
import subprocess
from pathlib import Path

import cv2
import pytest
from faults.onlooker import HEIGHT, WIDTH, Onlooker, photos
from processes import PATIENCE, stop

IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
FILL = "{{ head -c 300000 /dev/zero > {disk}/filler 2> /dev/null || true; }}"
FULL = f"mount -t tmpfs -o size=200k tmpfs {{disk}} && {FILL} && "


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the full disk is mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    tried = subprocess.run([*IN_NAMESPACE, FULL.format(disk=folder) + "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no disk can be mounted here: {tried.stderr.strip()}")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), photos(WIDTH, HEIGHT)[0][..., ::-1])
    return path


@pytest.mark.parametrize(
    "command",
    [
        "lseg segment {photo} --labels 'sky, road' -o {disk}/out.png",
        "lseg export lseg_mini {disk}/model.onnx",
    ],
)
def test_commands_say_that_the_disk_is_full(disk: Path, photo: Path, command: str) -> None:
    script = FULL.format(disk=disk) + command.format(disk=disk, photo=photo) + f"; echo status $?; ls -A {disk}"
    done = subprocess.run([*IN_NAMESPACE, script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines()[-2:] == ["status 1", "filler"], done.stdout + done.stderr
    said = done.stderr.splitlines()
    assert "No space left on device" in said[-1] and "Traceback" not in done.stderr, done.stderr


def test_the_node_works_without_room_for_its_cache(disk: Path, onlooker: Onlooker, tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    run = "exec lseg_node --ros-args -p input_size:=160 -p backend:=onnxruntime"
    script = FULL.format(disk=disk) + f"export XDG_CACHE_HOME={disk} && {run}"
    with log.open("w") as output:
        node = subprocess.Popen([*IN_NAMESPACE, script], stdout=output, stderr=subprocess.STDOUT, text=True)
    try:
        onlooker.graph.until(lambda: node.poll() is not None or onlooker.sets, "the node, or its end")
        if node.poll() is None:
            onlooker.wait_for_node()
            onlooker.more_masks(3, "of a node without a cache")
            assert stop(node, signal.SIGINT) < 5 and node.returncode == 0
        else:
            assert "No space left" in log.read_text()
    finally:
        node.kill()
        node.wait()
    assert "Traceback" not in log.read_text()
