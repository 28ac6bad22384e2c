"""Whether the artifact's answers are torch's: it measures and judges, and changes no graph."""
