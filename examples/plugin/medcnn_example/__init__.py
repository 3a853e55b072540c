"""One addition of each kind to medcnn. A file for each: steps run in processes without torch."""
