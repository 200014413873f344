"""`python -m edgeorch`."""

import sys

from edgeorch import cli

sys.exit(cli.main())
