"""The order of the stages of an export; every stage's work is done in another room."""
