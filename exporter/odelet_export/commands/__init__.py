"""The exporter's command lines: text in, text out; everything they do is a call of another room."""
