"""Installs launch and the `ros2` command into .venv if ROS 2 came as wheels, which lack both; `make ros2` calls it.

They are built from their public git repositories, at the tags that the distribution released. LSEG_ROS2_SOURCES names
another place to clone from: an address or a folder that contains ros2/launch and the others.

.venv's Python runs this, after `make env`. Standard library only.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import make_env

SOURCES = "LSEG_ROS2_SOURCES"
PUBLIC = "https://github.com"
STAMP = make_env.VENV / "ros2-installed.txt"

# The tags that each distribution had released by August 2026.
TAGS: dict[str, dict[str, str]] = {
    "kilted": {
        "osrf/osrf_pycommon": "2.1.6",
        "ros2/launch": "3.8.8",
        "ros2/launch_ros": "0.28.6",
        "ros2/rcl_interfaces": "2.3.2",
        "ros2/ros2cli": "0.38.4",
        "ros2/rosidl_runtime_py": "0.14.2",
    },
    "jazzy": {
        "osrf/osrf_pycommon": "2.1.7",
        "ros2/launch": "3.4.11",
        "ros2/launch_ros": "0.26.12",
        "ros2/rcl_interfaces": "2.0.4",
        "ros2/ros2cli": "0.32.11",
        "ros2/rosidl_runtime_py": "0.13.2",
    },
}
# The Python packages in each repository that the documents and the launch test use.
PYTHON_PACKAGES: dict[str, tuple[str, ...]] = {
    "osrf/osrf_pycommon": (".",),
    "ros2/rosidl_runtime_py": (".",),
    "ros2/launch": ("launch", "launch_testing", "launch_xml", "launch_yaml"),
    "ros2/launch_ros": ("launch_ros", "launch_testing_ros", "ros2launch"),
    "ros2/ros2cli": (
        *("ros2cli", "ros2interface", "ros2lifecycle", "ros2node", "ros2param", "ros2pkg", "ros2run", "ros2service"),
        "ros2topic",
    ),
}
INTERFACES = {"ros2/rcl_interfaces": "composition_interfaces"}  # launch_ros imports it
# What they need from PyPI. Not all of them declare it.
REQUIREMENTS = ("argcomplete>=3,<4", "catkin_pkg>=1,<2", "lark>=1.1,<2", "packaging", "psutil", "pyyaml>=6")


def main() -> None:
    if make_env.find_distribution():
        raise make_env.SetupError("A ROS 2 distribution is sourced, and it has its own `ros2`; nothing to do.")
    with make_env.one_at_a_time():
        if not make_env.WHEELS_NAME.exists():
            raise make_env.SetupError("There is no ROS 2 in .venv yet: run `make env` first.")
        distribution = make_env.WHEELS_NAME.read_text().strip()
        tags = TAGS[distribution]
        wanted = "\n".join([distribution, *(f"{name} {tag}" for name, tag in tags.items()), *REQUIREMENTS]) + "\n"
        if STAMP.exists() and STAMP.read_text() == wanted:
            say("up to date")
            return
        if not shutil.which("git"):
            raise make_env.SetupError("No git: install it (on Debian and Ubuntu git).")
        with tempfile.TemporaryDirectory(prefix="lseg_ros2_") as folder:
            sources = clone(tags, os.environ.get(SOURCES) or PUBLIC, Path(folder))
            install(sources, Path(folder))
        STAMP.write_text(wanted)
    say(
        "ready: after `. ./env.sh` there is a `ros2`, with launch, run, topic, service, param, node, lifecycle and more"
    )


def say(text: str) -> None:
    print(f"[ros2] {text}", flush=True)


def clone(tags: Mapping[str, str], place: str, folder: Path) -> dict[str, Path]:
    """Clones repositories at their tags.

    Args:
        tags: The tag of each repository, by owner/name.
        place: Address or folder that contains them.
        folder: The folder to clone into.

    Returns:
        The clone of each.

    Raises:
        SetupError: A repository cannot be cloned. The message says why.
    """
    clones = {}
    for name, tag in tags.items():
        say(f"cloning {name} {tag}")
        clones[name] = folder / name.replace("/", "_")
        command = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--depth", "1", "--branch", tag]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        done = subprocess.run(
            [*command, f"{place.rstrip('/')}/{name}", str(clones[name])],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise make_env.SetupError(why_no_clone(done.stderr, name, tag, place))
    return clones


def why_no_clone(words: str, name: str, tag: str, place: str) -> str:
    """Returns the meaning of git's message in one sentence."""
    if "Remote branch" in words and "not found" in words:
        return f"{place}/{name} has no tag {tag}: fetch its tags there, or clone from {PUBLIC}."
    if any(sign in words for sign in ("Could not resolve", "Failed to connect", "timed out", "unable to access")):
        return (
            f"No network: git does not reach {place}. Connect; or copy {', '.join(TAGS['kilted'])} to a place within "
            f"reach, and name it: make ros2 {SOURCES}=/path/to/copies"
        )
    last = (words.strip().splitlines() or ["git failed"])[-1]
    return f"{name} cannot be cloned from {place}: {last}"


def install(clones: Mapping[str, Path], folder: Path) -> None:
    """Installs the clones into .venv. `folder` is for the files of the build."""
    say("installing their packages into .venv, some minutes")
    pip = [make_env.VENV_PYTHON, "-m", "pip", "install", "--progress-bar", "off"]
    make_env.run([*pip, *REQUIREMENTS], explain=make_env.explain_pip)
    packages = [clones[name] / package for name, found in PYTHON_PACKAGES.items() for package in found]
    # Without isolation, because pip would download setuptools for each package. .venv already has it, for colcon.
    make_env.run([*pip, "--no-deps", "--no-build-isolation", *packages])
    environment = make_env.build_environment(None)
    for name, package in INTERFACES.items():
        build = folder / f"build_{package}"
        configure = [f"-DCMAKE_INSTALL_PREFIX={make_env.VENV}", f"-DPython3_EXECUTABLE={make_env.VENV_PYTHON}"]
        command = ["cmake", "-S", clones[name] / package, "-B", build, "-DBUILD_TESTING=OFF", *configure]
        make_env.run(command, env=environment)
        make_env.run(["cmake", "--build", build, "--target", "install", "--parallel", "2"], env=environment)


if __name__ == "__main__":
    try:
        main()
    except make_env.SetupError as error:
        sys.exit(f"[ros2] {error}")
    except KeyboardInterrupt:
        sys.exit("[ros2] interrupted: `make ros2` begins anew")
