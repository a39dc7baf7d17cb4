"""``python -m splinelens`` is the command ``splinelens``."""

from splinelens.cli import main

if __name__ == "__main__":
    main()
