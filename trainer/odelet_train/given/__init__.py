"""Reads the user's own network, data and loss from the text of a command line; nothing is trained here."""
