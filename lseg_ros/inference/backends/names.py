"""Names of backends and precisions. Needs no torch, so a wrong name is refused before torch is loaded."""

BACKENDS = ("auto", "torch", "onnxruntime", "openvino", "tensorrt")
PRECISIONS = ("auto", "float32", "tf32", "float16", "bfloat16", "int8")
