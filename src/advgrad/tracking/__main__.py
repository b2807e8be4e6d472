"""`python -m advgrad.tracking EXPERIMENT IDLE`: the drainer of the project in the working folder."""

import sys

from advgrad.tracking.drain import main

main(sys.argv[1], float(sys.argv[2]))
