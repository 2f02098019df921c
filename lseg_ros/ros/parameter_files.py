"""Checks whether the parameter files on the command line have parameters for this node. Needs no ROS."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

_KEY = "ros__parameters"


def files_for_others(arguments: Sequence[str], node: str) -> list[str]:
    """Returns a sentence for each parameter file that has no parameters for a node.

    Args:
        arguments: The command line, as in sys.argv. Its files exist and are YAML, because ROS has read them.
        node: The node's fully qualified name.
    """
    sentences = []
    for path in _files(arguments):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):  # ROS reads some files that Python's YAML cannot read
            continue
        names = list(_nodes(content, ""))
        if any(_is_for(name, node) for name in names):
            continue
        whose = f"it has some for {', '.join(names)}" if names else f"none of its keys is {_KEY}"
        sentences.append(f"no parameters in {path} are for {node}; {whose}")
    return sentences


def _files(arguments: Sequence[str]) -> Iterator[Path]:
    for option, value in zip(arguments, arguments[1:], strict=False):
        if option == "--params-file":
            yield Path(value)


def _nodes(content: Any, prefix: str) -> Iterator[str]:
    """Yields the names of nodes in a parameter file. They may contain wildcards."""
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key == _KEY:
            yield prefix or "/"
        else:
            yield from _nodes(value, f"{prefix}/{str(key).strip('/')}")


def _is_for(pattern: str, node: str) -> bool:
    """Returns whether a name in a parameter file, such as /**, /*/lseg or /robot/lseg, matches a node."""
    wildcards = {"**": r"(/[^/]+)*", "*": r"/[^/]+"}
    parts = [wildcards.get(part, "/" + re.escape(part)) for part in pattern.strip("/").split("/")]
    return re.fullmatch("".join(parts), node) is not None
