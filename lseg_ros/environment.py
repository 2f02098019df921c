"""What libraries read from the environment when they load. Every room that loads them calls `prepare` first.

Standard library only. Messages (lseg_ros.msg, lseg_ros.srv) do not call it, so a process that only talks to the node
keeps its environment.
"""

import os

# PyTorch's threads wait for work busily, for milliseconds. On a robot whose cores do other things too they then take
# the time that the others, and they themselves, need: docs/performance.md has figures. Each OpenMP library has a
# variable of its own: the first is GNU's, in PyTorch from PyPI; the second LLVM's and Intel's, in conda's.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_ALSO_WAITING = ("GOMP_SPINCOUNT",)  # whoever sets one of them has decided about all

# Nothing that people segment with phones home. OpenVINO reads no variable: see lseg_ros.inference.backends.base.
_SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime, which else reports to Microsoft and writes a device id
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, which timm and open_clip load
}


def prepare() -> None:
    """Sets what the user has not set. It takes effect on libraries that load afterwards."""
    if not any(name in os.environ for name in (*_WAITING, *_ALSO_WAITING)):
        os.environ.update(_WAITING)
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)
