"""Reads models with the library transformers, from folders in the Hub's layout. Nothing is fetched.

The library is imported only when such a model is loaded.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lseg_ros.model.reader import CheckpointError


def from_folder(folder: Path, what: str, model: str, tokenizer: str) -> tuple[Any, Any]:
    """Reads a model and its tokenizer.

    Args:
        folder: A folder in the Hub's layout.
        what: Name of the model, for messages.
        model: The library's class of the model.
        tokenizer: The library's class of the tokenizer.

    Returns:
        The library's model, in float32 on the CPU, and its tokenizer.

    Raises:
        CheckpointError: The library is missing or too old, or the folder holds something else.
    """
    if find_spec("transformers") is None:
        raise CheckpointError(
            f"{what} needs the library transformers; run in the folder of lseg_ros: pip install '.[hub]'"
        )
    import transformers

    try:
        model_class, tokenizer_class = getattr(transformers, model), getattr(transformers, tokenizer)
    except AttributeError as error:
        raise CheckpointError(
            f"{what} needs transformers 5.14 or newer; run in the folder of lseg_ros: pip install '.[hub]'"
        ) from error
    try:
        found = model_class.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        reader = tokenizer_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the library raises many classes for missing or damaged files
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{folder} holds no {what} that can be read: {reason}; fetch it again") from error
    words = found.config.text_config.vocab_size
    if len(reader) < words // 2:  # where the tokenizer's file is missing, the library makes an empty one
        raise CheckpointError(
            f"{folder} holds a tokenizer of {len(reader)} words for a {what} of {words}; is tokenizer.json there? "
            "Fetch it again"
        )
    return found, reader
