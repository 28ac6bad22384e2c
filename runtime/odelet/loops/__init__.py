"""The loops that run outside any graph: step after step until the end time; they know no ONNX Runtime."""
