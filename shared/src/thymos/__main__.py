"""`python -m thymos` is `thymos`."""

from thymos.cli import main

if __name__ == "__main__":
    main()
