"""``python -m musediff`` is the command ``musediff``."""

import sys

from musediff.cli import main

sys.exit(main())
