"""What tests share: hand-made artifacts, problems, models, rosters and ways to run things. No test is here."""
