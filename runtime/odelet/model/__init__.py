"""Holds the objects of a caller: a loaded model, its arguments, its settings and its streams."""
