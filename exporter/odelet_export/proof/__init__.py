"""Compares an artifact's answers with torch's: it measures and judges, and changes no graph."""
