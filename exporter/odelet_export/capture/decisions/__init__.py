"""Answers the Python decisions on numbers of a traced model, and records those that other inputs may change."""
