"""The backends that run the image encoder: PyTorch, or a library that runs its ONNX file faster."""
