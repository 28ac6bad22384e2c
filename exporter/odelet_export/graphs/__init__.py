"""ONNX graphs, built and tidied by onnx-ir; it imports no torch."""
