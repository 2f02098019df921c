"""The home folder, the cache, and what happens without them."""

import os
import tempfile
from pathlib import Path

import pytest

from lseg_ros.files import from_home, is_private, user_cache


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_home("~/labels.yaml") == tmp_path / "labels.yaml"
    assert from_home("~draft.png") == Path("~draft.png")
    assert from_home("a/~/b") == Path("a/~/b")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/elsewhere")
    assert user_cache() == tmp_path / "elsewhere"


@pytest.mark.usefixtures("homeless")
def test_no_home_folder() -> None:
    with pytest.raises(ValueError, match=r"^~/out\.png is in the home folder, and this process has none; set HOME"):
        from_home("~/out.png")
    assert from_home("/tmp/~/x") == Path("/tmp/~/x")
    assert from_home("") == Path("")
    assert user_cache() is None


def test_a_folder_of_this_user_alone(tmp_path: Path) -> None:
    assert not is_private(tmp_path / "missing")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    assert is_private(folder)
    folder.chmod(0o777)
    assert not is_private(folder)
    link = tmp_path / "link"
    link.symlink_to(tempfile.mkdtemp(dir=tmp_path))
    assert not is_private(link)
    if os.getuid() == 0:
        folder.chmod(0o700)
        os.chown(folder, 12345, 12345)
        assert not is_private(folder)
