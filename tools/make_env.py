"""Installs what is missing for building, testing and running this package; `make env` calls it.

If a ROS 2 distribution is sourced, it is used, and .venv contains what it lacks and also sees its packages. Otherwise
.venv contains everything, including ROS 2, from PyPI, which has wheels of several distributions; ROS=jazzy chooses one.
In both cases colcon then builds the package into install/.

A step is skipped if nothing that it depends on has changed since it last succeeded.

Standard library only, because this runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
BUILD, INSTALL = ROOT / "build", ROOT / "install"
VISION_MSGS = ROOT / "tools" / "vision_msgs"

REQUIREMENTS_STAMP = VENV / "requirements-installed.txt"
BUILD_STAMP = INSTALL / "inputs-built.txt"
WHEELS_NAME = VENV / "ros-distribution.txt"  # the distribution whose wheels .venv holds; env.sh reads it

WHEELS = ["kilted", "jazzy"]  # distributions that pyproject.toml lists wheels of
SUPPORTED = [(3, minor) for minor in range(10, 14)]
BUILD_INPUTS: list[str | Path] = [
    *("CMakeLists.txt", "package.xml", "config", "launch", "lseg_ros", "msg", "scripts", "srv"),
    VISION_MSGS,
]


class SetupError(Exception):
    """One sentence: what is missing and what to do about it."""


def main() -> None:
    started = time.monotonic()
    with one_at_a_time():
        distribution = find_distribution()
        wheels = choose_wheels(distribution)
        python = find_python(distribution)
        find_compiler()
        changed = make_venv(python, distribution, wheels)
        changed |= install_requirements(distribution, wheels)
        changed |= build(distribution)
    seconds = time.monotonic() - started
    say(f"ready after {seconds:.0f} s: `. ./env.sh` gives a shell with all of it" if changed else "up to date")


def say(text: str) -> None:
    print(f"[env] {text}", flush=True)


class one_at_a_time:
    """Makes a second `make env` in the same folder wait for the first."""

    def __enter__(self) -> None:
        self.folder = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(self.folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another `make env`")
            fcntl.flock(self.folder, fcntl.LOCK_EX)

    def __exit__(self, *exception: object) -> None:
        os.close(self.folder)


# The machine


def find_distribution() -> str | None:
    """Returns the name of the sourced ROS 2 distribution, or None. The environment of an env.sh is not one."""
    rclpy = "share/ament_index/resource_index/packages/rclpy"
    with_rclpy = [prefix for prefix in foreign_prefixes() if (prefix / rclpy).exists()]
    of_wheels = [prefix for prefix in with_rclpy if (prefix / "pyvenv.cfg").exists()]
    return os.environ.get("ROS_DISTRO") if len(with_rclpy) > len(of_wheels) else None


def foreign_prefixes() -> list[Path]:
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    return [prefix for prefix in prefixes if ROOT not in prefix.parents]


def choose_wheels(distribution: str | None) -> str | None:
    """Returns the distribution whose wheels go into .venv, or None if one is sourced.

    It is the one that ROS names, else the one that .venv has already, else the newest.
    """
    asked = os.environ.get("ROS")
    if distribution:
        if asked and asked != distribution:
            raise SetupError(f"ROS={asked} asks for wheels, and ROS 2 {distribution} is sourced: use a new shell.")
        return None
    if asked and asked not in WHEELS:
        raise SetupError(f"There are no wheels of ROS={asked}: use ROS={' or ROS='.join(WHEELS)}.")
    return asked or installed_wheels() or WHEELS[0]


def installed_wheels() -> str | None:
    return WHEELS_NAME.read_text().strip() if WHEELS_NAME.exists() else None


def find_python(distribution: str | None) -> str:
    """Returns the interpreter for .venv: PYTHON, else the first on PATH that fits."""
    names = [os.environ.get("PYTHON") or "python3"]
    if names == ["python3"] and not distribution:  # a distribution works with its own Python only
        names += [f"python{major}.{minor}" for major, minor in SUPPORTED]
    path = os.pathsep.join(f for f in os.environ["PATH"].split(os.pathsep) if Path(f) != VENV / "bin")
    reasons = []
    for name in names:
        python = shutil.which(name, path=path)
        reason = why_unfit(python, distribution) if python else "not found"
        if python and reason is None:
            return python
        reasons.append(f"{name} {reason}")
    raise SetupError(
        f"No Python that fits ({', '.join(reasons)}): install one of 3.10 to 3.13 with its venv module and headers "
        "(on Debian and Ubuntu python3-venv and python3-dev), or name it: make env PYTHON=..."
    )


def why_unfit(python: str, distribution: str | None) -> str | None:
    modules = "ensurepip, venv" + (", rclpy" if distribution else "")
    code = f"import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('include')); import {modules}"
    result = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if not result.stdout:
        return "does not start"
    major, minor, include = result.stdout.strip().split(" ", 2)
    if (int(major), int(minor)) not in SUPPORTED:
        return f"is {major}.{minor}"
    if result.returncode:
        return f"fails to import {modules}"
    if not Path(include, "Python.h").exists():
        return "has no headers"
    return None


def find_compiler() -> None:
    names = [os.environ.get("CXX") or "c++", "g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise SetupError("No C++ compiler: install one (on Debian and Ubuntu build-essential).")


# .venv and its packages


def make_venv(python: str, distribution: str | None, wheels: str | None) -> bool:
    sound = venv_is_sound(distribution, wheels)
    if not sound:
        if VENV.exists():
            say("removing .venv and what was built with it: unfinished, or made for another Python or ROS 2")
            for folder in (VENV, BUILD, INSTALL):
                shutil.rmtree(folder, ignore_errors=True)
        beside = f"beside ROS 2 {distribution}" if distribution else f"with ROS 2 {wheels} from PyPI"
        say(f"making .venv with {python}, {beside}")
        run([python, "-m", "venv", *(["--system-site-packages"] if distribution else []), VENV])
    if wheels and not WHEELS_NAME.exists():
        WHEELS_NAME.write_text(wheels + "\n")
    return not sound


def venv_is_sound(distribution: str | None, wheels: str | None) -> bool:
    config = VENV / "pyvenv.cfg"
    if not config.exists() or not VENV_PYTHON.exists():
        return False
    if ("include-system-site-packages = true" in config.read_text()) != bool(distribution):
        return False
    if installed_wheels() not in (None, wheels):
        return False
    pip: list[str | Path] = [VENV_PYTHON, "-m", "pip", "--version"]
    return REQUIREMENTS_STAMP.exists() or subprocess.run(pip, stdout=subprocess.DEVNULL).returncode == 0


def install_requirements(distribution: str | None, wheels: str | None) -> bool:
    wanted = "\n".join(requirements(wheels)) + "\n"
    if REQUIREMENTS_STAMP.exists() and REQUIREMENTS_STAMP.read_text() == wanted:
        return False
    say("installing Python packages (some GB and a few minutes the first time)")
    forget_half_installed()
    requirements_file, constraints_file = VENV / "requirements.txt", VENV / "constraints.txt"
    requirements_file.write_text(wanted)
    constraints_file.write_text("\n".join(versions_to_keep()) if distribution else "")
    run(
        [VENV_PYTHON, "-m", "pip", "install", "--progress-bar", "off", "-r", requirements_file, "-c", constraints_file],
        show=r"\s*((Downloading|Using cached) .*\(\d{2,}\.\d [MG]B\)|Installing collected)",
        explain=explain_pip,
    )
    if not distribution:
        point_cmake_at_venv()
    REQUIREMENTS_STAMP.write_text(wanted)
    return True


def requirements(wheels: str | None) -> list[str]:
    """Returns all of pyproject.toml's dependencies, and the wheels of this distribution of ROS 2 unless it is None."""
    pyproject = read_pyproject()
    found = list(pyproject["project"]["dependencies"])
    for extra in ("ros", "bag", "openvino", "onnx", "train", "console", "demo", "dev"):
        found += pyproject["project"]["optional-dependencies"][extra]
    ros = pyproject["tool"]["lseg_ros"]["ros-wheels"]
    return found + [f"{name}{bounds[wheels]}" for name, bounds in ros.items() if wheels in bounds]


def read_pyproject() -> dict[str, Any]:
    """Reads pyproject.toml. .venv's Python runs this, because its pip has a TOML reader for Python 3.10."""
    code = (
        "import json, sys\n"
        "try: import tomllib\n"
        "except ImportError: from pip._vendor import tomli as tomllib\n"
        "print(json.dumps(tomllib.load(sys.stdin.buffer)))"
    )
    python = VENV_PYTHON if VENV_PYTHON.exists() else sys.executable
    with open(ROOT / "pyproject.toml", "rb") as project:
        done = subprocess.run([python, "-c", code], check=True, stdin=project, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def forget_half_installed() -> None:
    """Removes half-installed packages. They lack INSTALLER, which is written last, but pip takes them for installed."""
    for package in VENV.glob("lib/python*/site-packages/*.dist-info"):
        if not (package / "INSTALLER").exists():
            shutil.rmtree(package)


def versions_to_keep() -> list[str]:
    """Returns constraints that keep the robot's torch, and the NumPy that its ROS messages were compiled for."""
    code = "from importlib.metadata import version; import sys; print(version(sys.argv[1]))"
    found = {}
    for name in ("numpy", "torch"):
        result = subprocess.run([VENV_PYTHON, "-c", code, name], capture_output=True, text=True)
        found[name] = result.stdout.strip()
    constraints = ["numpy<2"] if found["numpy"].startswith("1.") else []
    if [int(n) for n in re.findall(r"\d+", found["torch"])[:2]] >= [2, 2]:
        say(f"keeping torch {found['torch']}")
        constraints.append(f"torch=={found['torch']}")
    return constraints


def point_cmake_at_venv() -> None:
    """Corrects the CMake exports of wheels, which name the Python and NumPy headers of the machine that built them."""
    code = "import numpy, sysconfig; print(sysconfig.get_path('include')); print(numpy.get_include())"
    result = subprocess.run([VENV_PYTHON, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    python_headers, numpy_headers = result.stdout.splitlines()
    for exports in VENV.glob("share/*/cmake/*Export.cmake"):
        text = exports.read_text()
        text = re.sub(r'[^";]*/include/python3\.\d+(?=[";])', lambda _: python_headers, text)
        text = re.sub(r'[^";]*/numpy/_?core/include(?=[";])', lambda _: numpy_headers, text)
        exports.write_text(text)


def explain_pip(text: str) -> str:
    if re.search(r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Could not fetch URL", text):
        return "No network: pip does not reach its package index; connect, or set PIP_INDEX_URL to one within reach."
    if "No matching distribution found for ros-" in text:
        return (
            "No ROS 2 wheels for this machine (they are for x86-64): install and source a ROS 2 distribution instead."
        )
    if "constraint" in text and "ResolutionImpossible" in text:
        return "No torchvision on the index goes with the torch that is here: install the one that was made for it."
    return "pip could not install the Python packages; its own words stand above."


# The package


def build(distribution: str | None) -> bool:
    inputs = build_inputs()
    built = BUILD_STAMP.read_text().splitlines() if BUILD_STAMP.exists() else []
    if built == inputs:
        return False
    say("building the interfaces and the package")
    if {line.split("\t")[0] for line in built} - {line.split("\t")[0] for line in inputs}:
        shutil.rmtree(INSTALL)  # files that were removed from the source would stay in it
    BUILD_STAMP.unlink(missing_ok=True)
    environment = build_environment(distribution)
    colcon = shutil.which("colcon", path=environment["PATH"])
    if not colcon:
        raise SetupError("No colcon: install it (on Debian and Ubuntu python3-colcon-common-extensions).")
    has_vision_msgs = distribution and any((prefix / "share" / "vision_msgs").is_dir() for prefix in foreign_prefixes())
    packages = [ROOT] if has_vision_msgs else [ROOT, VISION_MSGS]
    run(
        [colcon, "build", "--event-handlers", "console_cohesion-", "--base-paths", *packages]
        + ["--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={VENV_PYTHON}"],
        env=environment,
        show="Finished",
        explain=lambda text: "colcon build failed; its own words stand above, and in full in log/latest_build.",
    )
    BUILD_STAMP.write_text("\n".join(inputs))
    return True


def build_inputs() -> list[str]:
    """Returns a line for each file that the build reads: its path, and something that changes with it."""
    files = [REQUIREMENTS_STAMP]
    for path in (ROOT / name for name in BUILD_INPUTS):
        files += [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    return sorted(f"{file.relative_to(ROOT)}\t{file.stat().st_mtime_ns}\t{file.stat().st_size}" for file in files)


def build_environment(distribution: str | None) -> dict[str, str]:
    environment = dict(os.environ)
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # they refer to the job server of the calling make
        environment.pop(name, None)
    if not distribution:
        environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = str(VENV)
        for name in ("PYTHONPATH", "COLCON_PREFIX_PATH"):
            environment.pop(name, None)
    environment["PATH"] = f"{VENV / 'bin'}{os.pathsep}{environment['PATH']}"
    return environment


def run(
    command: Sequence[object],
    env: Mapping[str, str] | None = None,
    show: str | None = None,
    explain: Callable[[str], str] | None = None,
) -> None:
    """Runs a command in ROOT. Prints the lines that match `show`. If it fails, prints its last lines and why."""
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None  # a pipe, as asked for above
    lines = []
    for line in process.stdout:
        lines.append(line)
        if show and re.match(show, line):
            say("  " + re.sub(r"-(cp|py)\d\S*", "", line.strip())[:80])
    if process.wait():
        sys.stderr.writelines(f"{line.rstrip():.300}\n" for line in lines[-30:])
        raise SetupError(explain("".join(lines)) if explain else f"`{' '.join(map(str, command))}` failed.")


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"[env] {error}")
    except KeyboardInterrupt:
        sys.exit("[env] interrupted: the next `make env` goes on from here")
