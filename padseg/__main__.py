"""`python -m padseg`, and the `padseg` command."""

import sys

from padseg.cli import main as _main


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(_main(sys.argv[1:]))


if __name__ == "__main__":
    sys.argv[0] = "padseg"  # as the usage of the parsers names it
    main()
