"""`python -m taut.cli` is the command `taut`."""

import sys

from taut.cli.command import main

sys.exit(main())
