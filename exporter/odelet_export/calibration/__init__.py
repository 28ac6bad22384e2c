"""Finds the steps of `bounded` solves on the user's data, and measures how large their errors are."""
