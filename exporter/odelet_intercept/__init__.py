"""Catches and reads the calls of solver libraries, wherever a model got the functions from. Imports torch, and no onnx.

Both the exporter and the trainer use this package. `LIBRARIES` in `odelet_intercept.libraries` is the roster of the
libraries whose calls are caught; `odelet_intercept.call` defines the entries of the roster.
"""
