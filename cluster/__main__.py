"""`python -m calbatch.cluster`: the command line."""

from calbatch.cluster.cli.app import main

main()
