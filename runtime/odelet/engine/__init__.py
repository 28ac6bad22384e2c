"""The only room that knows ONNX Runtime, and libraries in its place: sessions, their memory, and solves by graphs."""
