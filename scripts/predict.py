"""`medcnn predict` as a script, for schedulers that want a file."""

import sys

from medcnn.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
