"""`python -m nile`: the same as the `nile` command."""

from nile.cli import main

if __name__ == "__main__":
    main()
