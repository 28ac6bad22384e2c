"""Turns a captured graph into graphs that ONNX Runtime runs: each solve becomes a hole, and a form fills the hole."""
