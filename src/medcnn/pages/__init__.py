"""Everything a run shows to people: all HTML pages and Markdown files."""
