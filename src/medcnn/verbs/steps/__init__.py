"""Steps that commands share, and parts of long ones; heavy imports are welcome here."""
