"""Reads YAML configurations of data sets, training runs and measurements."""

from pathlib import Path
from typing import Any

import yaml


class ConfigError(ValueError):
    """A configuration cannot be used. The message names the file and the entry."""


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads a YAML file of named entries.

    Args:
        path: The file.

    Raises:
        ConfigError: The file cannot be used.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration at {path}; check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no mapping of entries")
    return raw
