"""`python -m headend.cli` is `headend`."""

from headend.cli import main

main()
