"""What tests share: hand-made artifacts, problems, models, rosters, and ways to run things. No test stands here.

A test file imports from here, and never from another test file; tests/whole/test_rooms.py checks it.
"""
