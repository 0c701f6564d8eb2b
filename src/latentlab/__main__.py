"""`python -m latentlab` is the same as `latentlab`."""

from latentlab.cli import main

main()
