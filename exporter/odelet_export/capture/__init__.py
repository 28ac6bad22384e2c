"""Traces a running torch model into one ONNX graph, in which markers stand for the model's solves."""
