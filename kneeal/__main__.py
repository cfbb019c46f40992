"""`python -m kneeal`."""

from kneeal.cli import main

if __name__ == "__main__":
    main()
