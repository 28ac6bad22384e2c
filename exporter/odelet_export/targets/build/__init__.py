"""Translates the program of an artifact for engines other than ONNX Runtime.

The law here: nothing is read but the artifact, and every number is made by code that comes from its graphs.
"""
