"""Makes what is missing for building, testing and running this package; `make env` calls it.

With a ROS 2 distribution sourced, that one is used, and .venv (which also sees the system's packages) holds what the
distribution lacks. Without, .venv holds everything, ROS 2 included, from PyPI. Either way the interfaces and the package
are then built into install/. Each step is skipped when nothing that it depends on has changed since it last succeeded.

Standard library only: this runs before anything is installed.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
INSTALL = ROOT / "install"
VISION_MSGS = ROOT / "tools" / "vision_msgs"

REQUIREMENTS_STAMP = VENV / "requirements-installed.txt"
BUILD_STAMP = INSTALL / "inputs-built.txt"

SUPPORTED = [(3, minor) for minor in range(10, 14)]
BUILD_INPUTS = [
    "CMakeLists.txt",
    "package.xml",
    "config",
    "launch",
    "lseg_ros",
    "msg",
    "scripts",
    "srv",
    "tools/vision_msgs",
]


class SetupError(Exception):
    """One sentence: what is missing and what to do about it."""


def main():
    started = time.monotonic()
    with one_at_a_time():
        distribution = find_distribution()
        python = find_python(distribution)
        find_compiler()
        changed = make_venv(python, distribution)
        changed |= install_requirements(distribution)
        changed |= build(distribution)
    seconds = time.monotonic() - started
    say(f"ready after {seconds:.0f} s: `. ./env.sh` gives a shell with all of it" if changed else "up to date")


def say(text):
    print(f"[env] {text}", flush=True)


class one_at_a_time:
    """Lets a second `make env` in the same folder wait for the first."""

    def __enter__(self):
        self.folder = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(self.folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another `make env`")
            fcntl.flock(self.folder, fcntl.LOCK_EX)

    def __exit__(self, *exception):
        os.close(self.folder)


# What there is


def find_distribution():
    """Returns the name of the sourced ROS 2 distribution, or None. What env.sh sets up is not one."""
    name = os.environ.get("ROS_DISTRO")
    has_rclpy = any(
        (prefix / "share/ament_index/resource_index/packages/rclpy").exists() for prefix in foreign_prefixes()
    )
    return name if name and has_rclpy else None


def foreign_prefixes():
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return [p for p in prefixes if ROOT not in p.parents]


def find_python(distribution):
    """Returns the interpreter to make .venv from: PYTHON, else the first on PATH that fits."""
    wanted = os.environ.get("PYTHON")
    names = (
        [wanted] if wanted else ["python3"] if distribution else ["python3", *(f"python3.{m}" for _, m in SUPPORTED)]
    )
    folders = [f for f in os.environ.get("PATH", "").split(os.pathsep) if Path(f) != VENV / "bin"]
    reasons = []
    for name in names:
        python = shutil.which(name, path=os.pathsep.join(folders))
        reason = why_unfit(python, distribution) if python else "not found"
        if reason is None:
            return python
        reasons.append(f"{name}: {reason}")
    raise SetupError(
        f"No Python that fits ({'; '.join(reasons)}): install one of 3.{SUPPORTED[0][1]} to 3.{SUPPORTED[-1][1]} with its "
        "venv module and headers (on Debian and Ubuntu: python3-venv and python3-dev), or name one with `make env PYTHON=...`."
    )


def why_unfit(python, distribution):
    probe = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('include')); import ensurepip, venv"
    if distribution:
        probe += "; import rclpy"
    result = subprocess.run(
        [python, "-c", probe], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
    )
    if not result.stdout:
        return "does not start"
    major, minor, include = result.stdout.strip().split(" ", 2)
    if (int(major), int(minor)) not in SUPPORTED:
        return f"is {major}.{minor}"
    if result.returncode:
        return "has no module " + result.stderr.strip().rpartition("No module named ")[2]
    if not Path(include, "Python.h").exists():
        return "has no headers"
    return None


def find_compiler():
    if not any(shutil.which(name) for name in (os.environ.get("CXX"), "c++", "g++", "clang++") if name):
        raise SetupError("No C++ compiler: install one (on Debian and Ubuntu: apt install build-essential).")


# .venv and what goes into it


def make_venv(python, distribution):
    if venv_is_sound(distribution):
        return False
    if VENV.exists():
        say("removing .venv: unfinished, or made for another Python or ROS 2")
        shutil.rmtree(VENV)
    say(f"making .venv with {python}, " + (f"beside ROS 2 {distribution}" if distribution else "with ROS 2 from PyPI"))
    run([python, "-m", "venv", *(["--system-site-packages"] if distribution else []), VENV])
    return True


def venv_is_sound(distribution):
    config = VENV / "pyvenv.cfg"
    if not config.exists() or ("include-system-site-packages = true" in config.read_text()) != bool(distribution):
        return False
    if REQUIREMENTS_STAMP.exists():  # was complete once: enough that its interpreter is still there
        return VENV_PYTHON.exists()
    return (
        VENV_PYTHON.exists()
        and subprocess.run([VENV_PYTHON, "-m", "pip", "--version"], stdout=subprocess.DEVNULL).returncode == 0
    )


def install_requirements(distribution):
    wanted = "\n".join(requirements(distribution)) + "\n"
    if REQUIREMENTS_STAMP.exists() and REQUIREMENTS_STAMP.read_text() == wanted:
        return False
    forget_half_installed()
    say("installing Python packages (some GB and a few minutes the first time)")
    constraints = VENV / "constraints.txt"
    constraints.write_text("\n".join(kept_versions()) if distribution else "")
    wanted_file = VENV / "requirements.txt"
    wanted_file.write_text(wanted)
    pip = [VENV_PYTHON, "-m", "pip", "install", "--progress-bar", "off", "-r", wanted_file, "-c", constraints]
    run(pip, show=r"\s*((Downloading|Using cached) .*\(\d{2,}\.\d [MG]B\)|Installing collected)", explain=explain_pip)
    if not distribution:
        point_cmake_at_venv()
    REQUIREMENTS_STAMP.write_text(wanted)
    return True


def requirements(distribution):
    try:
        import tomllib
    except ImportError:  # Python 3.10
        from pip._vendor import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ["ros", "demo", "dev"] + ([] if distribution else ["ros-wheels"])
    return project["dependencies"] + [r for extra in extras for r in project["optional-dependencies"][extra]]


def forget_half_installed():
    """pip writes INSTALLER last; without it the package was cut off, and pip would take it for installed."""
    for package in VENV.glob("lib/python*/site-packages/*.dist-info"):
        if not (package / "INSTALLER").exists():
            shutil.rmtree(package)


def kept_versions():
    """Constraints that keep what the robot brings: its torch, and the NumPy that its ROS messages were compiled for."""
    probe = (
        "from importlib.metadata import distributions\n"
        "print(*{d.metadata['Name'].lower() + '==' + d.version for d in distributions()}, sep='\\n')"
    )
    found = dict(line.split("==") for line in output([VENV_PYTHON, "-c", probe]).splitlines() if "==" in line)
    constraints = ["numpy<2"] if found.get("numpy", "").startswith("1.") else []
    torch = re.match(r"(\d+)\.(\d+)", found.get("torch", ""))
    if torch and (int(torch[1]), int(torch[2])) >= (2, 2):
        say(f"keeping torch {found['torch']}")
        constraints.append(f"torch=={found['torch']}")
    return constraints


def explain_pip(text):
    if re.search(r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|Could not fetch URL", text):
        return (
            "No network: pip does not reach its package index; connect, or set PIP_INDEX_URL to an index within reach."
        )
    if re.search(r"No matching distribution found for ros-", text):
        return "No ROS 2 wheels for this machine (they need x86-64 Linux): install a ROS 2 distribution, source it and try again."
    if "constraint" in text and "ResolutionImpossible" in text:
        return (
            "Nothing on the index goes with the torch that is here: install the torchvision made for it, and try again."
        )
    return "pip could not install the Python packages; its own words stand above."


def point_cmake_at_venv():
    """The wheels' CMake exports name the Python and NumPy headers of the machine that built them."""
    probe = "import numpy, sysconfig; print(sysconfig.get_path('include')); print(numpy.get_include())"
    python_include, numpy_include = output([VENV_PYTHON, "-c", probe]).splitlines()
    for exports in VENV.glob("share/*/cmake/*Export.cmake"):
        text = exports.read_text()
        patched = re.sub(r'[^";]*/include/python3\.\d+(?=[";])', lambda _: python_include, text)
        patched = re.sub(r'[^";]*/numpy/_?core/include(?=[";])', lambda _: numpy_include, patched)
        if patched != text:
            exports.write_text(patched)


# The package


def build(distribution):
    inputs = build_inputs()
    built = BUILD_STAMP.read_text().splitlines() if BUILD_STAMP.exists() else []
    if built == inputs:
        return False
    if {line.split("\t")[0] for line in built} - {line.split("\t")[0] for line in inputs}:
        shutil.rmtree(INSTALL)  # CMake does not uninstall what is gone from the source
    BUILD_STAMP.unlink(missing_ok=True)
    environment = build_environment(distribution)
    needs_vision_msgs = not any((prefix / "share/vision_msgs").is_dir() for prefix in foreign_prefixes())
    colcon = shutil.which("colcon", path=environment["PATH"])
    if not colcon:
        raise SetupError("colcon is missing: install python3-colcon-common-extensions.")
    say("building the interfaces and the package")
    run(
        [colcon, "build", "--base-paths", ROOT, *([VISION_MSGS] if needs_vision_msgs else [])]
        + [
            "--event-handlers",
            "console_cohesion-",
            "--cmake-args",
            "-DBUILD_TESTING=OFF",
            f"-DPython3_EXECUTABLE={VENV_PYTHON}",
        ],
        env=environment,
        show=r"Finished",
        explain=lambda text: "colcon build failed; its own words stand above, and in full in log/latest_build.",
    )
    BUILD_STAMP.write_text("\n".join(inputs))
    return True


def build_inputs():
    """One line for each file that the build reads: its path, and what changes when it does."""
    files = [REQUIREMENTS_STAMP]
    for path in (ROOT / name for name in BUILD_INPUTS):
        files += (
            [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        )
    return sorted(f"{file.relative_to(ROOT)}\t{file.stat().st_mtime_ns}\t{file.stat().st_size}" for file in files)


def build_environment(distribution):
    environment = clean_environment()
    environment["PATH"] = f"{VENV / 'bin'}{os.pathsep}{environment['PATH']}"
    if not distribution:
        environment["AMENT_PREFIX_PATH"] = environment["CMAKE_PREFIX_PATH"] = str(VENV)
        environment.pop("PYTHONPATH", None)
        environment.pop("COLCON_PREFIX_PATH", None)
    return environment


# Running commands


def clean_environment():
    """Without what `make` tells the makes below it: the job server's pipe does not reach them."""
    return {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}


def output(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout


def run(command, env=None, show=None, explain=None):
    """Runs a command in ROOT. Prints the lines that match `show`; when it fails, the last ones and why."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env or clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if show and re.match(show, line):
            say(f"  {line.strip():.100}")
    if process.wait():
        sys.stderr.writelines(lines[-30:])
        raise SetupError(explain("".join(lines)) if explain else f"`{' '.join(map(str, command))}` failed.")


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"[env] {error}")
    except KeyboardInterrupt:
        sys.exit("[env] interrupted: the next `make env` goes on from here")
