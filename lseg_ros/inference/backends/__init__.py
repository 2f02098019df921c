"""What runs the image encoder: PyTorch, or a library that runs the encoder's ONNX faster."""
