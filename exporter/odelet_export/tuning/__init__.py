"""Many exports of one model, measured and compared; it knows no command line."""
