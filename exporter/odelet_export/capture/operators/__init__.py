"""Supplies the operators that torch's own translation to ONNX lacks, or translates wrongly or with a loss of digits."""
