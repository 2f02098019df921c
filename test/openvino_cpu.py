"""What OpenVINO can compute on this processor."""

import os
from typing import Any


def has_bfloat16(openvino: Any) -> bool:
    """Returns whether OpenVINO can compute in bfloat16.

    It asks the processor. ONEDNN_MAX_CPU_ISA limits the instructions of its oneDNN below those of bfloat16, and then
    networks fail to compile, although OpenVINO still says that it can.
    """
    if os.environ.get("ONEDNN_MAX_CPU_ISA"):
        return False
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
