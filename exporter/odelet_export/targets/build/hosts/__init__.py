"""The targets whose engines read ONNX: the graphs of an artifact as such an engine takes them."""
