"""Rewrites of a captured graph: the same numbers up to rounding, by operators that ONNX Runtime computes faster."""
