"""From a running torch model to one ONNX graph with a marker where each solve is."""
