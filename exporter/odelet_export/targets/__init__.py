"""Writes a lowered model as files on disk."""
