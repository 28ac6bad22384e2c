"""The solver methods, each as data and one step; every method stands in a roster."""
