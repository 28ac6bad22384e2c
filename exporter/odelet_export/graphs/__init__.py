"""Builds and tidies ONNX graphs with onnx-ir; it imports no torch."""
