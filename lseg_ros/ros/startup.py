"""Starts ROS in a process, and turns the errors of `rclpy.init` into one sentence."""

import os
import re
from pathlib import Path
from typing import Any

import rclpy
import yaml

_PLACE = re.compile(r",? at \S+:\d+")  # a place in rcl's source code
_LAST_DOMAIN = 232  # the port numbers of RTPS end there, and Fast DDS ends the process
_TYPES = {"bool": "true or false", "integer": "a number", "double": "a number", "string": "a word"}


class StartError(ValueError):
    """ROS cannot start with these arguments or in this environment. The message is one sentence."""


def initialise(args: list[str] | None, *, domain_id: int | None = None, **options: Any) -> None:
    """Calls `rclpy.init`.

    Args:
        args: The command line; None for that of the process.
        domain_id: The ROS domain; None for that of the environment.
        options: Further arguments of `rclpy.init`.

    Raises:
        StartError: ROS cannot start.
    """
    domain = os.environ.get("ROS_DOMAIN_ID", "") if domain_id is None else str(domain_id)
    if domain and not (domain.isdecimal() and int(domain) <= _LAST_DOMAIN):
        raise StartError(f"ROS_DOMAIN_ID is {domain!r}; it must be a whole number from 0 to {_LAST_DOMAIN}")
    try:
        rclpy.init(args=args, domain_id=domain_id, **options)
    except UnicodeError as error:
        raise StartError("an argument is no UTF-8, which ROS needs; rename the file that it names") from error
    # rclpy's compiled half raises several kinds of RuntimeError, and older releases raise a ValueError.
    except (RuntimeError, ValueError) as error:
        raise StartError(sentence(error)) from error


def sentence(error: Exception) -> str:
    """Returns what is wrong according to an error of `rclpy.init`, and what to do."""
    text = _PLACE.sub("", " ".join(str(error).split())).removeprefix("failed to initialize rcl: ")
    if match := re.search(r"Couldn't parse params file: '--params-file (.*?)'\. Error: (.*)", text):
        return _of_file(Path(match[1]), match[2])
    if match := re.search(r"Couldn't parse parameter override rule: '(?:-p|--param) (.*?)'\. Error: (.*)", text):
        rule, reason = match.groups()
        if ":=" not in rule:
            return f"the parameter {rule!r} has no value; write -p {rule}:=VALUE"
        return f"the parameter {rule!r} cannot be read: {_of_value(reason)}"
    if "logging" in text and "directory" in text:
        folder = os.environ.get("ROS_LOG_DIR") or os.environ.get("ROS_HOME")
        where = f"the folder for logs, {folder}, cannot be made" if folder else "there is no home folder for logs"
        return f"{where}; set ROS_LOG_DIR to a folder that can be written"
    if type(error).__name__ == "UnknownROSArgsError":
        return f"ROS does not know these arguments: {text}"
    return text.replace("Couldn't parse", "cannot read").rstrip(" .")


def _of_file(path: Path, reason: str) -> str:
    """Returns what is wrong with a parameter file; `reason` is rcl's."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        return f"the parameter file {path} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        return f"the parameter file {path} is no text in UTF-8"
    except yaml.YAMLError as error:
        return f"the parameter file {path} is no YAML: {' '.join(str(error).split())}"
    if line := re.search(r"do not belong at line_num (\d+)", reason):
        return f"the parameter file {path}, line {line[1]}: {_of_value(reason)}"
    sections = content.values() if isinstance(content, dict) else []
    if not any("ros__parameters" in str(section) for section in sections):
        return f"the parameter file {path} has no parameters: it needs NODE: {{ros__parameters: {{NAME: VALUE}}}}"
    return f"the parameter file {path} cannot be read: {reason.rstrip(' .')}"


def _of_value(reason: str) -> str:
    match = re.search(r"Value type '(\w+)' do not belong", reason)
    if not match:
        return f"its value is no YAML ({reason.rstrip(' .')}); put it into quotes"
    if match[1] == "string":
        return "a list has words beside numbers, or beside true and false; if all are texts, put them into quotes"
    kind = _TYPES.get(match[1], match[1])
    return f"a list of texts has a word that YAML reads as {match[1]}, {kind}; put it into quotes"
