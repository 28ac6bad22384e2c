"""What a caller holds: a loaded model, its arguments, its settings and its streams."""
