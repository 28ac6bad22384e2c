"""Presents the user's torch model as a function of tensors, and its solves as plain data."""
