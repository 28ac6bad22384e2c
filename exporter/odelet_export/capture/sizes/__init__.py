"""Keeps the sizes of dynamic axes symbolic in a trace, and finds out what the model's code assumes of them."""
