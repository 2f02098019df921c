"""The executables' --help, and their errors about arguments that nobody would read."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from lseg_ros.ros import image_player, main  # noqa: E402
from lseg_ros.ros.parameter_table import ENTRIES  # noqa: E402


@pytest.mark.parametrize(
    ("run", "name", "parameters"),
    [(main.main, "lseg_node", list(ENTRIES)), (image_player.main, "image_player", ["sources", "rate", "loop"])],
)
def test_help_says_what_it_is_and_how_parameters_are_given(
    capsys: pytest.CaptureFixture[str], run: object, name: str, parameters: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--help"])  # type: ignore[operator]
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"{name} --ros-args -p " in text and f"{name} --ros-args --params-file my.yaml" in text
    for parameter in parameters:
        assert f"\n  {parameter} " in text
    assert max(map(len, text.splitlines())) <= 160


@pytest.mark.parametrize(("run", "name"), [(main.main, "lseg_node"), (image_player.main, "image_player")])
def test_an_argument_that_nobody_would_read_is_refused(
    capsys: pytest.CaptureFixture[str], run: object, name: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--labels", "sky", "--ros-args", "-p", "rate:=1.0"])  # type: ignore[operator]
    assert ended.value.code == 2
    assert f"{name}: error: unrecognized arguments: --labels sky\n" in capsys.readouterr().err
