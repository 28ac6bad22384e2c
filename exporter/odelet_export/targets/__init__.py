"""A lowered model as files on disk."""
