"""The mathematics of solvers, written once over a backend `xp`; it knows no file, no session and no method by name."""
