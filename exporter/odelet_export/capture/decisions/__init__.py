"""What the model's Python code decides by numbers while it is traced, and what becomes of each decision."""
