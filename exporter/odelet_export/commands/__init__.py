"""The exporter's command lines: they read text and print text, and leave all other work to other rooms."""
