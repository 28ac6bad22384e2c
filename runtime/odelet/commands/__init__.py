"""What the command line does, as functions from text and files to text and files; no solver number is made here."""
