"""C: the files of a solve in C99, without malloc, without globals that are written, and without a library but libm."""
