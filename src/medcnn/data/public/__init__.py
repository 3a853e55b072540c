"""One file for each public set, read in the layout in which it is distributed."""
