"""Code that tests share: hand-made artifacts, problems, models, rosters, and functions that run things; no tests.

A test file imports from here and never from another test file; tests/whole/test_rooms.py checks that.
"""
