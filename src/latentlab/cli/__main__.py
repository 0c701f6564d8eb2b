"""`python -m latentlab.cli`: the same as `latentlab`."""

from latentlab.cli import main

main()
