"""Environment variables that libraries read when they load. Every package that loads them calls `prepare` first.

Standard library only. Messages (lseg_ros.msg, lseg_ros.srv) do not call it. So a process that only talks to the node
keeps its environment.
"""

import os

# By default PyTorch's threads wait busily for milliseconds. On a robot with other work this costs all threads time,
# including PyTorch's own; docs/performance.md has figures. Each OpenMP library has its own variable: the first is for
# GNU's, in PyTorch from PyPI; the second for LLVM's and Intel's, in PyTorch from conda.
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_ALSO_WAITING = ("GOMP_SPINCOUNT",)  # a user who sets any of these variables has decided; all stay as they are

# Switch telemetry off. OpenVINO has no such variable: see lseg_ros.inference.backends.base.
_SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime, which otherwise reports to Microsoft and writes a device id
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, which timm and open_clip load
}


def prepare() -> None:
    """Sets the variables that the user has not set. This affects only libraries that load afterwards."""
    if not any(name in os.environ for name in (*_WAITING, *_ALSO_WAITING)):
        os.environ.update(_WAITING)
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)
