"""Makes many exports of one model, measures and compares them; it knows no command line."""
