"""What a run shows to people: every HTML page and Markdown file is made here."""
