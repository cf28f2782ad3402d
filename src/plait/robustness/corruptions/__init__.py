"""Graded damage to raw cells, strength 0 (none) to 5; a file for each kind of cell."""
