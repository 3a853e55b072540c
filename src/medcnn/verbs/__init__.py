"""What the commands do, each a sentence of the floors below."""
