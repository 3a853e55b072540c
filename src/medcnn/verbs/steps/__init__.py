"""What several commands do, or a long one does in the end: heavy imports are welcome here."""
