"""Runs the stages of an export in order; every stage's work is done in another room."""
