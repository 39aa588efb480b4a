"""`python -m calbatch.cluster`: the command line."""

from calbatch.cluster.cli import main

main()
