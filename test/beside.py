"""The folder of data outside the repository. Tests that need it are skipped without it."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("LSEG_SHARED") or Path(__file__).parents[2] / "shared")
"""The folder of photographs, weights and outputs of the original network."""
