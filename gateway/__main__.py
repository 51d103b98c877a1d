"""`python -m gateway` is `sockgw`."""

from gateway.cli import main

main(prog_name="sockgw")
