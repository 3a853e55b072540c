"""One file for each public set, read in the folders in which it is handed out."""
