"""From a running torch model to one ONNX graph in which markers stand where its solves are."""
