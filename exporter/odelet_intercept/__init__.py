"""Calls of solver libraries, caught wherever a model got the functions from, and read. Imports torch, and no onnx.

Both the exporter and the trainer stand on this package. `LIBRARIES` in `odelet_intercept.libraries` is the roster of
the libraries whose calls are caught; `odelet_intercept.call` says what a library of the roster has to state.
"""
