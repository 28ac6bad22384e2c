"""Does the work of the command line, from text and files to text and files; it makes no number of a solver."""
