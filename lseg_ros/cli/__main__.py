"""`python -m lseg_ros.cli`, the command line for launchers such as torchrun."""

import sys

from lseg_ros.cli.main import main

sys.exit(main())
