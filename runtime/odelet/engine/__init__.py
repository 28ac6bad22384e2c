"""The only room that knows ONNX Runtime: sessions, their memory, and solves whose steps are graphs."""
