"""Language-driven semantic segmentation (LSeg) for ROS 2.

The names below load at their first use, so that `import lseg_ros.msg` needs no torch.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

# The generated interfaces (lseg_ros.msg, lseg_ros.srv) are in the install prefix. If Python reads this file from the
# source tree, the package has to include both folders.
__path__ = extend_path(__path__, __name__)

if TYPE_CHECKING:
    from lseg_ros.inference.segmenter import Segmenter as Segmenter
    from lseg_ros.model.net import LSegNet as LSegNet
    from lseg_ros.model.weights import load_model as load_model

_HOMES = {
    "LSegNet": "lseg_ros.model.net",
    "Segmenter": "lseg_ros.inference.segmenter",
    "load_model": "lseg_ros.model.weights",
}
__all__ = ["LSegNet", "Segmenter", "load_model"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
