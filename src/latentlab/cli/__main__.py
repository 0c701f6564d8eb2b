"""`python -m latentlab.cli` is the same as `latentlab`."""

from latentlab.cli import main

main()
