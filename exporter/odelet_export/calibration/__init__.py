"""The steps of a `bounded` solve, found on the user's data."""
