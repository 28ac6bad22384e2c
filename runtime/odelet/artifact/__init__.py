"""Turns the bytes of an artifact into checked facts, or raises ArtifactError; it opens no session."""
