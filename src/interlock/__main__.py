"""``python -m interlock``, and the entry of the zipapp."""

import sys

from interlock.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
